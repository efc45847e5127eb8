"""Programs that try what they mustn't be able to do. Each defines `attack()`, which returns "done" where it worked.

{folder}, {secret}, {tcp}, {udp}, {unix}, {abstract} and {host} are filled in.
"""

PREAMBLE = """
import ctypes, os, resource, signal, socket, struct, sys, threading, time
LIBC = ctypes.CDLL(None, use_errno=True)


def system(number, *arguments):
    got = LIBC.syscall(number, *arguments)
    if got == -1:
        raise OSError(ctypes.get_errno(), number)
    return got

"""

# What works where seccomp, Landlock and the limits are off, so that the tests of these can fail.
POSSIBLE = {
    "read /etc/passwd": """
def attack():
    return "done" if "root" in open("/etc/passwd").read() else ""
""",
    "read a secret": """
def attack():
    return "done" if open("{folder}/secret").read() == "{secret}" else ""
""",
    "list a folder": """
def attack():
    return "done" if "secret" in os.listdir("{folder}") else ""
""",
    "stat a file": """
def attack():
    return "done" if os.stat("{folder}/secret").st_size else ""
""",
    "access a file": """
def attack():
    return "done" if os.access("{folder}/secret", os.R_OK) else ""
""",
    "write a file": """
def attack():
    open("{folder}/effect", "w").write("x")
    return "done"
""",
    "make a folder": """
def attack():
    os.mkdir("{folder}/effect")
    return "done"
""",
    "chmod": """
def attack():
    os.chmod("{folder}/secret", 0o600)
    return "done"
""",
    "utime": """
def attack():
    os.utime("{folder}/secret", (1, 1))
    return "done"
""",
    "rename": """
def attack():
    os.rename("{folder}/secret", "{folder}/effect")
    return "done"
""",
    "remove": """
def attack():
    os.remove("{folder}/secret")
    return "done"
""",
    "fill the disk": """
def attack():
    with open("{folder}/effect", "wb") as file:
        for _ in range(30):
            file.write(bytes(2**20))
    return "done"
""",
    "symlink": """
def attack():
    os.symlink("{folder}/secret", "{folder}/effect")
    return "done" if open("{folder}/effect").read() == "{secret}" else ""
""",
    "tcp": """
def attack():
    socket.create_connection(("127.0.0.1", {tcp})).close()
    return "done"
""",
    "udp": """
def attack():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", {udp}))
    return "done"
""",
    "unix": """
def attack():
    socket.socket(socket.AF_UNIX).connect("{unix}")
    return "done"
""",
    "abstract": """
def attack():
    socket.socket(socket.AF_UNIX).connect("\\0{abstract}")
    return "done"
""",
    "fork": """
def attack():
    if os.fork() == 0:
        os._exit(0)
    return "done"
""",
    "thread": """
def attack():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    return "done"
""",
    "a shell": """
def attack():
    import subprocess
    return "done" if subprocess.run(["/bin/sh", "-c", "touch {folder}/effect"]).returncode == 0 else ""
""",
    "a daemon": """
def attack():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(0.3)
            open("{folder}/effect", "w").close()
        os._exit(0)
    os.wait()
    return "done"
""",
    "more memory than the limit": """
def attack():
    import mmap
    return "done" if len(mmap.mmap(-1, 1200 * 2**20)) else ""
""",
    "memfd": """
def attack():
    return "done" if os.memfd_create("x") else ""
""",
    "executable memory": """
def attack():
    LIBC.mmap.restype = ctypes.c_ssize_t
    return "done" if LIBC.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_ssize_t(0)) > 0 else ""
""",
    "memory made executable": """
def attack():
    LIBC.mmap.restype = ctypes.c_ssize_t
    at = LIBC.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_ssize_t(0))
    return "done" if LIBC.mprotect(ctypes.c_ssize_t(at), ctypes.c_size_t(4096), 5) == 0 else ""
""",
    "a user namespace": """
def attack():
    return "done" if LIBC.unshare(0x10000000) == 0 else ""
""",
    "being traced": """
def attack():
    return "done" if LIBC.ptrace(0, 0, 0, 0) == 0 else ""
""",
    "other limits": """
def attack():
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
    return "done"
""",
    "a session of its own": """
def attack():
    if os.getsid(0) == os.getpid():
        return ""
    os.setsid()
    return "done"
""",
    "shared memory": """
def attack():
    open("/dev/shm/sandbox-test", "w").close()
    os.remove("/dev/shm/sandbox-test")
    return "done"
""",
    "signal another process of its user": """
def attack():
    os.kill(os.getppid(), 0)
    return "done"
""",
}

# What other means stop too (another user, an empty environment, a parent that can't be read): never possible.
IMPOSSIBLE = {
    "its environment": """
def attack():
    return "done" if "{secret}" in str(os.environ) else ""
""",
    "its environment in memory": """
def attack():
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(LIBC, "environ")
    found = []
    while environ[len(found)]:
        found.append(environ[len(found)])
    return "done" if b"{secret}" in b" ".join(found) else ""
""",
    "everybody's environment": """
def attack():
    for pid in range({host} - 50, {host} + 200):
        try:
            if "{secret}" in open(f"/proc/{{pid}}/environ").read():
                return "done"
        except OSError:
            pass
""",
    "its parent's memory": """
def attack():
    open(f"/proc/{{os.getppid()}}/mem", "rb").close()
    return "done"
""",
    "its parent's memory by process_vm_readv": """
def attack():
    here = ctypes.create_string_buffer(8)
    ours = (ctypes.c_void_p * 2)(ctypes.addressof(here), 8)
    theirs = (ctypes.c_void_p * 2)(id(None), 8)
    got = LIBC.process_vm_readv(os.getppid(), ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
    return "done" if got == 8 else ""
""",
    "tracing its parent": """
def attack():
    return "done" if LIBC.ptrace(16, os.getppid(), 0, 0) == 0 else ""
""",
    "raising its limits": """
def attack():
    resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))
    return "done"
""",
    "the owner's memory": """
def attack():
    open("/proc/{host}/mem", "rb").close()
    return "done"
""",
    "descriptors that were left open": """
def attack():
    found = []
    for fd in range(1000):
        try:
            os.lseek(fd, 0, 1)
            found.append(fd)
        except OSError as error:
            if error.errno == 29:
                found.append(fd)
    return "done" if len(found) > 4 else ""
""",
    "the other numbering of system calls": """
def attack():
    return "done" if LIBC.syscall(0x40000000 | 2, b"/etc/passwd", 0) >= 0 else ""
""",
}

# Numbers of x86_64: refused whoever asks and whatever the arguments are.
CALLS = {
    "io_uring_setup": 425,
    "bpf": 321,
    "perf_event_open": 298,
    "userfaultfd": 323,
    "keyctl": 250,
    "add_key": 248,
    "clone3": 435,
    "vfork": 58,
    "execveat": 322,
    "open_by_handle_at": 304,
    "openat2": 437,
    "statx": 332,
    "mount": 165,
    "chroot": 161,
    "setns": 308,
    "kexec_load": 246,
    "reboot": 169,
    "init_module": 175,
    "personality": 135,
    "prctl": 157,
    "seccomp": 317,
    "prlimit64": 302,
    "sched_setaffinity": 203,
    "setpriority": 141,
    "shmget": 29,
    "msgget": 68,
    "semget": 64,
    "mq_open": 240,
    "pidfd_open": 434,
    "pidfd_getfd": 438,
    "pidfd_send_signal": 424,
    "tgkill": 234,
    "rt_sigqueueinfo": 129,
    "process_vm_writev": 311,
    "kcmp": 312,
    "sendmsg": 46,
    "recvmsg": 47,
    "fcntl": 72,
    "dup": 32,
    "splice": 275,
    "vmsplice": 278,
    "pkey_mprotect": 329,
    "remap_file_pages": 216,
    "syslog": 103,
    "acct": 163,
    "quotactl": 179,
    "inotify_init1": 294,
    "fanotify_init": 300,
    "timer_create": 222,
    "landlock_create_ruleset": 444,
    "memfd_secret": 447,
    "setuid": 105,
    "capset": 126,
}
