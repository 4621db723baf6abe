"""Launcher of a session's program: ends the session with its parent process, and shows it its folder as `/kaggle`.

Run by path, as `launcher.py PARENT KAGGLE PROGRAM...`, so it imports the standard library only. PARENT is the id of the
process with which the session dies. KAGGLE is the folder to show as `/kaggle`, or empty for none. The folder is shown
in a private mount namespace whose root is a tmpfs, with all entries of `/` bind-mounted into it and the folder beside
them. The namespace ends with its last process, so no mounts are left behind, and none are ever visible outside it.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, SIGKILL = 1, 9


def main(parent: int, kaggle: str, program: list[str]) -> None:
    """Replace this process by the program. Raises OSError if `/kaggle` cannot be shown."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if kaggle:
            show(libc, Path(kaggle))
        libc.prctl(PR_SET_PDEATHSIG, SIGKILL)  # entering a namespace clears this setting, so set it afterwards
        if os.getppid() != parent:
            os._exit(137)
    os.execv(sys.executable, [sys.executable, "-I", *program])


def show(libc: ctypes.CDLL, kaggle: Path) -> None:
    """Show `kaggle` as `/kaggle` to this process, and change to its folder `working`."""
    _enter(libc)
    _mount(libc, "none", Path("/"), MS_REC | MS_PRIVATE)
    root = kaggle.parent / "root"
    _mount(libc, "tmpfs", root, 0, "tmpfs", b"mode=0755")
    # Bind the entry that contains the new root first, while that root is still empty: nothing is then bound twice.
    for entry in sorted(Path("/").iterdir(), key=lambda entry: not root.is_relative_to(entry)):
        if entry != Path("/kaggle"):
            _bind(libc, entry, root / entry.name)
    _bind(libc, kaggle, root / "kaggle")
    os.chroot(root)
    os.chdir("/kaggle/working")


def _enter(libc: ctypes.CDLL) -> None:
    """Enter a private mount namespace; without the privilege, enter a user namespace with the same ids first."""
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWNS) == 0:
        return
    _check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _bind(libc: ctypes.CDLL, source: Path, target: Path) -> None:
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    if source.is_dir():
        target.mkdir()
    else:
        target.touch()
    _mount(libc, str(source), target, MS_BIND | MS_REC)


def _mount(libc: ctypes.CDLL, source: str, target: Path, flags: int, kind: str = "", data: bytes = b"") -> None:
    done = libc.mount(source.encode(), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), data or None)
    _check(done, f"mount {target}")


def _check(done: int, what: str) -> None:
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
