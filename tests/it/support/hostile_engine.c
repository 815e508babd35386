/*
 * An engine that was taken over: in place of libespeak-ng it tries, when it is to
 * speak, each way out of its process. espeak_Synth answers 0x1000000, which is an
 * error, and a bit for each way that was open; which bit is which, sandbox.rs says.
 *
 * HOME has a folder `data` with the files that it looks for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[4096];

static const char *in_proc(const char *name) {
    snprintf(path, sizeof path, "/proc/%d/%s", (int)getppid(), name);
    return path;
}

static const char *at_home(const char *name) {
    const char *home = getenv("HOME");
    snprintf(path, sizeof path, "%s/%s", home ? home : "", name);
    return path;
}

static int opens(const char *name, int flags) {
    int fd = open(name, flags, 0600);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

static int reads(const char *name) {
    char byte;
    int fd = open(name, O_RDONLY);
    int open = fd >= 0 && read(fd, &byte, 1) == 1;
    if (fd >= 0) close(fd);
    return open;
}

static int signals_parent(void) {
    pid_t parent = getppid();
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = SIGCONT;
    info.si_code = SI_QUEUE;
    long pidfd = syscall(SYS_pidfd_open, parent, 0);
    return kill(parent, SIGCONT) == 0
        || syscall(SYS_tgkill, parent, parent, SIGCONT) == 0
        || syscall(SYS_tkill, parent, SIGCONT) == 0
        || syscall(SYS_rt_sigqueueinfo, parent, SIGCONT, &info) == 0
        || (pidfd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0) == 0);
}

static int signals_parent_by_pipe(void) {
    return fcntl(0, F_SETOWN, getppid()) == 0 || fcntl(0, F_SETSIG, SIGCONT) == 0;
}

static int limits_parent(void) {
    struct rlimit limit;
    return prlimit(getppid(), RLIMIT_NOFILE, NULL, &limit) == 0
        || setpriority(PRIO_PROCESS, getppid(), 19) == 0;
}

static int traces_parent(void) {
    char byte;
    struct iovec here = { &byte, 1 }, there = { (void *)&path, 1 };
    return ptrace(PTRACE_SEIZE, getppid(), NULL, NULL) == 0
        || process_vm_readv(getppid(), &here, 1, &there, 1, 0) == 1
        || errno == EFAULT;
}

static int changes_files(void) {
    char to[4096];
    snprintf(to, sizeof to, "%s", at_home("data/renamed"));
    return mkdir(at_home("data/made"), 0700) == 0
        || symlink("/", at_home("data/link")) == 0
        || rename(at_home("data/victim"), to) == 0
        || chmod(at_home("data/victim"), 0666) == 0
        || utimensat(AT_FDCWD, at_home("data/victim"), NULL, 0) == 0
        || truncate(at_home("data/victim"), 0) == 0
        || unlink(at_home("data/victim")) == 0;
}

static int has_sockets(void) {
    int pair[2];
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0
        || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0;
}

/* Whether a call came to more than the filter, whatever it thought of its arguments. */
static int passed(long result) {
    return result >= 0 || errno != EPERM;
}

static int runs_programs(void) {
    return passed(execl("/nowhere", "nowhere", (char *)NULL));
}

static int is_child(long pid) {
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid((pid_t)pid, NULL, 0);
    return pid > 0;
}

static int starts_processes(void) {
    int open = is_child(fork());
    open |= is_child(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
#ifdef SYS_fork
    open |= is_child(syscall(SYS_fork));
#endif
    return open || syscall(SYS_clone3, NULL, 0) == 0 || errno != ENOSYS;
}

static int outlives_the_service(void) {
    return prctl(PR_SET_PDEATHSIG, 0) == 0;
}

static int mounts(void) {
    return passed(umount2("/nowhere", 0)) || passed(syscall(SYS_open_tree, -1, "nowhere", 0))
        || passed(unshare(-1));
}

static int types_into_terminals(void) {
    return passed(ioctl(0, TIOCSTI, "x")) || passed(ioctl(0, TIOCLINUX, ""));
}

static int shares_memory_and_queues(void) {
    return passed(shmget(0, 0, 0)) || passed((long)shmat(-1, NULL, 0))
        || passed(msgget(1, 0)) || passed(semget(1, 0, 0))
        || passed(syscall(SYS_mq_open, "nowhere", O_RDONLY));
}

int espeak_Synth(const void *text, size_t size, unsigned from, int kind, unsigned to,
                 unsigned flags, unsigned *id, void *user) {
    int open = 0, bit = 0;
#define TRY(way) (open |= ((way) ? 1 : 0) << bit++)
    TRY(opens(in_proc("mem"), O_RDWR));
    TRY(opens(in_proc("mem"), O_RDONLY));
    TRY(reads(in_proc("environ")));
    TRY(traces_parent());
    TRY(signals_parent());
    TRY(signals_parent_by_pipe());
    TRY(limits_parent());
    TRY(opens(at_home("data/new"), O_WRONLY | O_CREAT));
    TRY(opens(at_home("data/victim"), O_WRONLY));
    TRY(changes_files());
    TRY(has_sockets());
    TRY(runs_programs());
    TRY(starts_processes());
    TRY(outlives_the_service());
    TRY(mounts());
    TRY(types_into_terminals());
    TRY(shares_memory_and_queues());
    TRY(reads(at_home("data/callback.secret")));
    TRY(reads(at_home("data/tts.db")));
    TRY(reads("/etc/passwd"));
    return 0x1000000 | open;
}

/* What else the program looks for. */

typedef struct {
    const char *name, *languages, *identifier;
    unsigned char gender, age, variant, unused;
    int score;
    void *spare;
} Voice;

void espeak_ng_InitializePath(const char *path) {}
int espeak_Initialize(int output, int ms, const char *data, int options) { return 22050; }
void espeak_SetSynthCallback(void *callback) {}
int espeak_SetVoiceByName(const char *name) { return 0; }
int espeak_SetParameter(int which, int value, int relative) { return 0; }
const char *espeak_TextToPhonemes(const void **text, int mode, int kind) {
    *text = NULL;
    return "";
}
const char *espeak_Info(const char **data) {
    /* The folder of its data is the library's own to say: one that is always there. */
    if (data) *data = "/usr/share/zoneinfo";
    return "1.51";
}
const Voice **espeak_ListVoices(Voice *like) {
    static const Voice voice = { .name = "taken-over", .languages = "\x05xx", .identifier = "xx" };
    static const Voice *voices[] = { &voice, NULL };
    return voices;
}
