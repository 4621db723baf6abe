"""The program that runs in a session's process before the session's own: it ties the session to its Kaggle, and shows it `/kaggle`.

It is run by its path, as `launcher.py PARENT KAGGLE PROGRAM...`, so it imports the standard library alone. PARENT is the process
with which the session dies. KAGGLE is the folder that the session shall see as `/kaggle`, or empty where it shall see no such
folder. It does so in a mount namespace of its own, whose root is a tmpfs with all that lies in `/` bound into it, and the folder
beside it; the namespace ends with its last process, so no mount is left behind, and outside it there never is one.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, SIGKILL = 1, 9


def main(parent: int, kaggle: str, program: list[str]) -> None:
    """Become the program; raises OSError where `/kaggle` cannot be shown."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if kaggle:
            show(libc, Path(kaggle))
        libc.prctl(PR_SET_PDEATHSIG, SIGKILL)  # the kernel forgets it where a namespace is entered
        if os.getppid() != parent:
            os._exit(137)
    os.execv(sys.executable, [sys.executable, "-I", *program])


def show(libc: ctypes.CDLL, kaggle: Path) -> None:
    """Let this process see `kaggle` as `/kaggle`, and work in its folder `working`."""
    _enter(libc)
    _mount(libc, "none", Path("/"), MS_REC | MS_PRIVATE)
    root = kaggle.parent / "root"
    _mount(libc, "tmpfs", root, 0, "tmpfs", b"mode=0755")
    # The entry that holds the new root comes first, while there is nothing in that root that would be bound a second time.
    for entry in sorted(Path("/").iterdir(), key=lambda entry: not root.is_relative_to(entry)):
        if entry != Path("/kaggle"):
            _bind(libc, entry, root / entry.name)
    _bind(libc, kaggle, root / "kaggle")
    os.chroot(root)
    os.chdir("/kaggle/working")


def _enter(libc: ctypes.CDLL) -> None:
    """A mount namespace of one's own; who may not make one is alone in a user namespace first, under the same numbers."""
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
