"""Sandbox for a process that runs untrusted code: resource limits, a system call filter, an audit hook.

It has four layers. The first three are enforced by the operating system and cannot be removed from inside:

1. Resource limits (`setrlimit`): processor time, memory, no file growth, few open files, no new processes. 2. On Linux
(x86_64, aarch64) a seccomp filter that allows the few system calls a computation needs, opens files for reading only,
and refuses the rest: network, processes, signals to others, sleeping, changing the limits. 3. On Linux all of root's
capabilities are dropped, and Landlock (if the kernel supports it) allows only library files, so that the memory of
other processes (a file under /proc) cannot be read. 4. An audit hook that refuses the same from within Python, and
reading files outside Python's library.

On macOS and elsewhere the second and third are missing: memory is then hardly limited (macOS ignores the limit of the
address space), and code that bypasses Python's functions (for example through `ctypes`) has the rights of its user. The
fourth still keeps ordinary code from the network, from files and from processes.

Standard library only: this runs inside the judge.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38  # linux/prctl.h
CAPABILITY_VERSION_3, CAP_DAC_READ_SEARCH = 0x20080522, 2  # linux/capability.h
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446  # asm-generic/unistd.h
LANDLOCK_RULE_PATH_BENEATH, LANDLOCK_ALL, LANDLOCK_READ = (
    1,
    0x1FFF,
    0b1101,
)  # linux/landlock.h: execute, read file, list
O_PATH = getattr(os, "O_PATH", 0)
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000  # linux/seccomp.h
CLONE_NEWNET = 0x40000000
EPERM = 1
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06  # linux/bpf_common.h: on 32-bit words, with constants
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data
NOT_READ_ONLY = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

X86_64 = (
    0xC000003E,
    "read 0 write 1 close 3 stat 4 fstat 5 lstat 6 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12 rt_sigprocmask 14 "
    "rt_sigreturn 15 pread64 17 access 21 mremap 25 madvise 28 getpid 39 exit 60 uname 63 fcntl 72 getcwd 79 readlink 89 "
    "gettimeofday 96 getrlimit 97 getrusage 98 times 100 getuid 102 getgid 104 geteuid 107 getegid 108 sigaltstack 131 "
    "gettid 186 time 201 futex 202 sched_getaffinity 204 getdents64 217 clock_gettime 228 clock_getres 229 exit_group 231 "
    "newfstatat 262 readlinkat 267 faccessat 269 getrandom 318 statx 332 rseq 334 faccessat2 439",
    {2: 1, 257: 2},  # open and openat, with the index of their flags argument
)
AARCH64 = (
    0xC00000B7,
    "getcwd 17 fcntl 25 faccessat 48 close 57 getdents64 61 lseek 62 read 63 write 64 pread64 67 readlinkat 78 "
    "newfstatat 79 fstat 80 exit 93 exit_group 94 futex 98 clock_gettime 113 clock_getres 114 sched_getaffinity 123 "
    "sigaltstack 132 rt_sigprocmask 135 rt_sigreturn 139 times 153 uname 160 getrlimit 163 getrusage 165 gettimeofday 169 "
    "getpid 172 getuid 174 geteuid 175 getgid 176 getegid 177 gettid 178 brk 214 munmap 215 mremap 216 mmap 222 "
    "mprotect 226 madvise 233 getrandom 278 statx 291 rseq 293 faccessat2 439",
    {56: 2},
)
CALLS: Mapping[str, tuple[int, str, Mapping[int, int]]] = {"x86_64": X86_64, "aarch64": AARCH64}

REFUSED_EVENTS = (
    "socket.",
    "subprocess.",
    "ctypes.",
    "os.",
    "shutil.",
    "signal.",
    "resource.",
    "fcntl.",
    "pty.",
    "mmap.",
    "tempfile.",
    "urllib.",
    "syslog.",
    "gc.",
    "_thread.start",
    "time.sleep",
    "sys._current_frames",
)
"""Prefixes of refused audit events (docs.python.org, "Audit events table")."""
LISTING = ("os.listdir", "os.scandir")
"""Audit events that importing a module also raises; allowed for Python's library."""
REFUSED_MODULES = frozenset(
    {"ctypes", "_ctypes", "socket", "_socket", "subprocess", "_posixsubprocess", "multiprocessing"}
)


@dataclass(frozen=True)
class ProcessLimits:
    """Resource limits of one process. Processor time is the main one: it does not depend on the machine's load."""

    cpu_s: int = 1
    memory_bytes: int = 512 * 2**20
    open_files: int = 16


def confine(limits: ProcessLimits, *, audited: bool) -> None:
    """Irrevocably drop every right that untrusted code does not need. Call after `fork`, while single-threaded."""
    give_up_privileges()
    _die_with_parent()
    if audited:
        open_libraries_only()
    _set_limit(resource.RLIMIT_CPU, limits.cpu_s, grace=1)  # SIGXCPU first, then SIGKILL
    _set_limit(resource.RLIMIT_AS, limits.memory_bytes)
    _set_limit(resource.RLIMIT_FSIZE, 0)
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_NOFILE, limits.open_files)
    _set_limit(getattr(resource, "RLIMIT_NPROC", resource.RLIMIT_CORE), 0)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    filter_calls()
    if audited:
        for name in REFUSED_MODULES:
            sys.modules.pop(name, None)  # otherwise `import` returns the judge's loaded module
        sys.addaudithook(_audit())


def filter_calls() -> bool:
    """Install the system call filter. Return False if the machine does not support it."""
    if LIBC is None or not PROGRAM:
        return False
    code = ctypes.create_string_buffer(PROGRAM, len(PROGRAM))
    head = ctypes.create_string_buffer(
        struct.pack("HL", len(PROGRAM) // 8, ctypes.addressof(code))
    )  # struct sock_fprog
    if LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(head), 0, 0) == 0)


def give_up_privileges() -> None:
    """Drop root's capabilities except reading files, and make this process's memory unreadable for the same user.

    A process cannot read the memory of one with more capabilities. The capability to read files is kept, because root's
    Python may lie in another user's folder.
    """
    if LIBC is None:
        return
    head = struct.pack("Ii", CAPABILITY_VERSION_3, 0)  # struct __user_cap_header
    for kept in (1 << CAP_DAC_READ_SEARCH, 0):
        rights = struct.pack("6I", kept, kept, 0, 0, 0, 0)  # struct __user_cap_data, twice
        if LIBC.capset(ctypes.create_string_buffer(head, len(head)), ctypes.create_string_buffer(rights, 24)) == 0:
            break
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def open_libraries_only() -> bool:
    """Restrict file access to Python's and the system's libraries by Landlock. Return False if unsupported."""
    if LIBC is None or LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    handled = ctypes.c_uint64(LANDLOCK_ALL)  # struct landlock_ruleset_attr of the first version
    rules = LIBC.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(handled), 8, 0)
    if rules < 0:
        return False
    for place in READABLE:
        folder = os.open(place, O_PATH)
        rule = struct.pack("=Qi", LANDLOCK_READ, folder)  # struct landlock_path_beneath_attr
        buffer = ctypes.create_string_buffer(rule, len(rule))
        LIBC.syscall(LANDLOCK_ADD_RULE, rules, LANDLOCK_RULE_PATH_BENEATH, buffer, 0)
        os.close(folder)
    restricted = bool(LIBC.syscall(LANDLOCK_RESTRICT_SELF, rules, 0) == 0)
    os.close(rules)
    return restricted


def leave_network() -> bool:
    """Move this process into a network namespace without interfaces. Return False if not permitted."""
    return LIBC is not None and LIBC.unshare(CLONE_NEWNET) == 0


def _die_with_parent() -> None:
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _set_limit(kind: int, most: int, grace: int = 0) -> None:
    _, hard = resource.getrlimit(kind)
    above = most + grace if hard == resource.RLIM_INFINITY else min(most + grace, hard)
    try:
        resource.setrlimit(kind, (min(most, above), above))
    except (ValueError, OSError):  # macOS defines some limits but does not support them
        return


def _filter(architecture: int, calls: str, opening: Mapping[int, int]) -> bytes:
    """Assemble the filter for the kernel: struct sock_filter, eight bytes per instruction."""
    allowed = [int(word) for word in calls.split() if word.isdecimal()]
    allow, refuse = _instruction(RETURN, SECCOMP_RET_ALLOW), _instruction(RETURN, SECCOMP_RET_ERRNO | EPERM)
    program = [
        _instruction(LOAD, ARCHITECTURE_AT),
        _instruction(EQUAL, architecture, yes=1),
        refuse,
        _instruction(LOAD, NUMBER_AT),
    ]
    for number in allowed:
        program += [_instruction(EQUAL, number, no=1), allow]
    for number, place in opening.items():
        flags = _instruction(LOAD, ARGUMENTS_AT + 8 * place)
        program += [_instruction(EQUAL, number, no=4), flags, _instruction(ANY_BIT, NOT_READ_ONLY, no=1), refuse, allow]
    return b"".join([*program, refuse])


def _instruction(code: int, constant: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, constant)


def _audit() -> Callable[[str, tuple[Any, ...]], None]:
    """Return the audit hook. It captures everything it needs, since the untrusted code may modify any module."""
    beginnings, listing, modules = REFUSED_EVENTS, LISTING, REFUSED_MODULES
    library = LIBRARY
    real, decoded, text, refusal, not_read_only = (
        os.path.realpath,
        os.fsdecode,
        (str, bytes),
        PermissionError,
        NOT_READ_ONLY,
    )
    busy = [False]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if busy[0]:
            return
        if event == "import":
            if arguments[0] in modules:
                raise refusal(f"{arguments[0]} is not for answers")
        elif event == "open" or event in listing:
            path, flags = arguments[0], arguments[2] if event == "open" else 0
            busy[0] = True  # resolving the real path reads links, which raises audit events
            try:
                fits = isinstance(path, text) and (decoded(real(path)) + "/").startswith(library)
            finally:
                busy[0] = False
            if not fits or flags & not_read_only:
                raise refusal("files are not for answers")
        elif event.startswith(beginnings):
            raise refusal(f"{event} is not for answers")

    return hook


def _libc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    library.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    return library


# Computed once, before any fork.
LIBC = _libc()
PROGRAM = _filter(*CALLS[platform.machine()]) if platform.machine() in CALLS else b""
SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", f"{sys.base_prefix}/lib")
"""Folders in which the dynamic linker finds the dependencies of Python's library modules."""
LIBRARY = tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")})
READABLE = tuple(place for place in (*SYSTEM_LIBRARIES, *LIBRARY) if Path(place).is_dir())
