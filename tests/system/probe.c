/*
 * Tries what the service's sandbox forbids. It takes the program's place in the unit, so that it runs in just that
 * sandbox, and prints a line a try: the unit's key, a tab, "ok" or "FAIL" or "skip", a tab, and what it found.
 *
 *   probe service   as the unit says
 *   probe root      with User=root added: files whose owner it is, so that only the sandbox is in its way
 *   probe network   with the network let in, except for IPAddressDeny=
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void tell(const char *key, int good, const char *what) {
    printf("%s\t%s\t%s\n", key, good ? "ok" : "FAIL", what);
    fflush(stdout);
}

/* Tells whether a call failed with the error that it has to. */
static void refused(const char *key, const char *what, long result, int wanted) {
    char text[200];
    int error = errno;
    snprintf(text, sizeof text, "%s: %s", what, result >= 0 ? "possible" : strerror(error));
    tell(key, result < 0 && error == wanted, text);
}

static long writable(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) { close(fd); unlink(path); }
    return fd;
}

/* Reads a line of /proc/self/status. */
static void status_line(const char *name, char *value, size_t size) {
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    *value = 0;
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':') {
            snprintf(value, size, "%s", line + strlen(name) + 2);
            value[strcspn(value, "\n")] = 0;
        }
    if (file) fclose(file);
}

static void capabilities(const char *key, const char *name) {
    char value[64];
    status_line(name, value, sizeof value);
    tell(key, *value && strspn(value, "0") == strlen(value), value);
}

static void namespace_differs(const char *key, const char *name, const char *outside) {
    char path[64], own[64] = "";
    snprintf(path, sizeof path, "/proc/self/ns/%s", name);
    ssize_t length = readlink(path, own, sizeof own - 1);
    tell(key, length > 0 && outside && strcmp(own, outside), own);
}

/* The only network interface is the loopback one. */
static void only_loopback(void) {
    char line[256], others[256] = "";
    FILE *file = fopen("/proc/self/net/dev", "r");
    int count = 0;
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (!colon) continue;
        *colon = 0;
        count++;
        if (!strstr(line, "lo")) strncat(others, line, sizeof others - strlen(others) - 1);
    }
    tell("PrivateNetwork", count == 1 && !*others, *others ? others : "only the loopback interface");
}

static void foreign_architecture(void) {
#ifdef __x86_64__
    int status;
    pid_t child = fork();
    if (child == 0) {
        long result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory"); /* getpid of i386 */
        _exit(result > 0 ? 1 : 0);
    }
    waitpid(child, &status, 0);
    tell("SystemCallArchitectures", WIFSIGNALED(status) || WEXITSTATUS(status) == 0, "a call of another architecture");
#else
    printf("SystemCallArchitectures\tskip\tno other architecture is known here\n");
#endif
}

/* Tries to run a program; a child does, so that the tries go on if it can. */
static void runs(const char *path) {
    char *const alone[] = {"program", NULL};
    char text[100];
    int status;
    pid_t child = fork();
    if (child == 0) {
        execve(path, alone, alone + 1);
        _exit(errno == EACCES ? 0 : 1);
    }
    waitpid(child, &status, 0);
    snprintf(text, sizeof text, "run %s", path);
    tell("NoExecPaths", WIFEXITED(status) && WEXITSTATUS(status) == 0, text);
}

static void execution(void) {
    const char *const folders[] = {"/tmp", "/var/tmp", "/dev/shm"};
    char path[100];
    runs("/usr/bin/true");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/program", folders[i]);
        int fd = open(path, O_WRONLY | O_CREAT, 0700);
        if (fd < 0) continue;
        if (write(fd, "#!/usr/bin/ws-router\n", 21) < 0) perror("write");
        close(fd);
        runs(path);
        unlink(path);
    }
    tell("ExecPaths", access("/usr/bin/ws-router", X_OK) == 0, "its own program may be run");
}

static void as_service(void) {
    struct rlimit limit;
    struct sched_param priority = {.sched_priority = 1};
    char value[64], text[100];
    struct stat file;
    const int families[] = {AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK};

    snprintf(text, sizeof text, "uid %d, gid %d", (int)geteuid(), (int)getegid());
    tell("User", geteuid() != 0, text);
    tell("Group", getegid() != 0, text);
    capabilities("CapabilityBoundingSet", "CapBnd");
    capabilities("AmbientCapabilities", "CapAmb");
    status_line("NoNewPrivs", value, sizeof value);
    tell("NoNewPrivileges", !strcmp(value, "1"), value);
    int fd = open("/tmp/file", O_WRONLY | O_CREAT, 0666);
    fstat(fd, &file);
    snprintf(text, sizeof text, "a new file has mode %o", file.st_mode & 07777);
    tell("UMask", (file.st_mode & 077) == 0, text);
    refused("RestrictSUIDSGID", "a setuid program", fchmod(fd, 04755), EPERM);

    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        snprintf(text, sizeof text, "a socket of family %d", families[i]);
        refused("RestrictAddressFamilies", text, socket(families[i], SOCK_DGRAM, 0), EAFNOSUPPORT);
    }
    only_loopback();
    namespace_differs("PrivateIPC", "ipc", getenv("OUTSIDE_IPC"));
    namespace_differs("PrivateMounts", "mnt", getenv("OUTSIDE_MNT"));
    refused("ProtectSystem", "write /usr/lib/probe", writable("/usr/lib/probe"), EACCES);
    refused("ProtectSystem", "change its own program", open("/usr/bin/ws-router", O_WRONLY), EACCES);
    refused("PrivateTmp", "see another's temporary file", open("/tmp/outside", O_RDONLY), ENOENT);
    refused("ProtectProc", "see process 1", open("/proc/1/stat", O_RDONLY), ENOENT);
    refused("ProcSubset", "see /proc/kcore", open("/proc/kcore", O_RDONLY), ENOENT);
    refused("ProcSubset", "see /proc/sys", open("/proc/sys/kernel/hostname", O_RDONLY), ENOENT);
    tell("RemoveIPC", open("/dev/shm/left-behind", O_WRONLY | O_CREAT, 0600) >= 0, "shared memory is left, to be removed");

    execution();
    refused("MemoryDenyWriteExecute", "memory both writable and executable",
            (long)mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EPERM);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    refused("MemoryDenyWriteExecute", "written memory made executable", mprotect(page, 4096, PROT_READ | PROT_EXEC), EPERM);
    refused("LockPersonality", "another personality", personality(PER_LINUX32), EPERM);
    refused("RestrictNamespaces", "a user namespace", unshare(CLONE_NEWUSER), EPERM);
    refused("RestrictNamespaces", "a network namespace", syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0), EPERM);
    refused("RestrictRealtime", "real-time priority", sched_setscheduler(0, SCHED_FIFO, &priority), EPERM);
    foreign_architecture();
    refused("SystemCallFilter", "ptrace", syscall(SYS_ptrace, 0, 0, 0, 0), EPERM);
    refused("SystemCallFilter", "mount", syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, 0), EPERM);
    refused("SystemCallFilter", "bpf", syscall(SYS_bpf, 0, 0, 0), EPERM);
    refused("SystemCallFilter", "chroot", syscall(SYS_chroot, "/tmp"), EPERM);
    refused("SystemCallFilter", "a better priority", setpriority(PRIO_PROCESS, 0, 5), EPERM);
    refused("SystemCallErrorNumber", "a filtered call doesn't kill", syscall(SYS_swapoff, "/none"), EPERM);
    refused("KeyringMode", "the keyring", syscall(SYS_keyctl, 0, -3, 0, 0, 0), EPERM);

    getrlimit(RLIMIT_CORE, &limit);
    tell("LimitCORE", limit.rlim_max == 0, "no core is written");
    getrlimit(RLIMIT_NOFILE, &limit);
    snprintf(text, sizeof text, "%lu descriptors", (unsigned long)limit.rlim_max);
    if (limit.rlim_max == 1048576) tell("LimitNOFILE", 1, text);
    else printf("LimitNOFILE\tskip\tthis machine allows %s at most\n", text);
}

static void as_root(void) {
    const char *const paths[] = {"/usr/probe", "/etc/probe", "/etc/ws-router/probe", "/var/probe", "/run/probe", "/probe"};
    const char *const hidden[] = {"/boot", "/media", "/mnt", "/opt", "/srv", "/var/backups", "/var/cache", "/var/lib", "/var/log", "/var/mail", "/var/spool"};
    char text[100];
    struct timespec now = {0};

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        snprintf(text, sizeof text, "write %s", paths[i]);
        refused("ProtectSystem", text, writable(paths[i]), EROFS);
    }
    refused("ReadOnlyPaths", "write /run/ws-router/probe", writable("/run/ws-router/probe"), EROFS);
    refused("ProtectHome", "look into /root", open("/root", O_RDONLY | O_DIRECTORY), EACCES);
    refused("ProtectHome", "look into /home", open("/home", O_RDONLY | O_DIRECTORY), EACCES);
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        if (access(hidden[i], F_OK) && errno == ENOENT) continue;
        snprintf(text, sizeof text, "look into %s", hidden[i]);
        refused("InaccessiblePaths", text, open(hidden[i], O_RDONLY | O_DIRECTORY), EACCES);
    }
    refused("ProtectControlGroups", "a control group", mkdir("/sys/fs/cgroup/probe", 0700), EROFS);
    refused("ProtectKernelTunables", "write below /sys", open("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY), EROFS);
    refused("ProtectKernelLogs", "the kernel's log", syscall(SYS_syslog, 3, text, sizeof text), EPERM);
    refused("ProtectKernelModules", "load a module", syscall(SYS_init_module, 0, 0, ""), EPERM);
    refused("ProtectClock", "set the clock", clock_settime(CLOCK_REALTIME, &now), EPERM);
    refused("ProtectHostname", "name the machine", sethostname("probe", 5), EPERM);
    refused("PrivateDevices", "see /dev/kmsg", open("/dev/kmsg", O_RDONLY), ENOENT);
    refused("DevicePolicy", "make a device", mknod("/tmp/memory", S_IFCHR | 0600, 1 << 8 | 1), EPERM);
}

static void with_network(void) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) { tell("IPAddressDeny", 0, "no socket to try it with"); return; }
    refused("IPAddressDeny", "send to an address", sendto(fd, "x", 1, 0, (struct sockaddr *)&here, sizeof here), EPERM);
}

int main(void) {
    const char *mode = getenv("PROBE");
    if (!mode) return 2; /* run by itself, see runs() */
    if (!strcmp(mode, "root")) as_root();
    else if (!strcmp(mode, "network")) with_network();
    else if (!strcmp(mode, "service")) as_service();
    return 0;
}
