/* Processes: how they are made, end, are awaited, stopped, and grouped; execve; limits and ids. */
#include "check.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *self;

static int status_of(pid_t child)
{
	int status;
	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

static void *spin(void *arg)
{
	for (;;)
		__asm__ volatile("");
	return arg;
}

static void *rest(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void ends(void)
{
	pid_t child = fork();
	if (!child)
		_exit(7);
	CHECK(status_of(child) == 7 << 8);
	child = fork();
	if (!child) {
		/* threads that run and threads that wait end with the process */
		pthread_t thread;
		pthread_create(&thread, NULL, spin, NULL);
		pthread_create(&thread, NULL, rest, NULL);
		usleep(5000);
		exit(42);
	}
	CHECK(status_of(child) == 42 << 8);
	child = fork();
	if (!child) {
		pthread_t thread;
		pthread_create(&thread, NULL, spin, NULL);
		usleep(5000);
		raise(SIGTERM);
	}
	CHECK(status_of(child) == SIGTERM);
	child = fork();
	if (!child) {
		/* the first thread ends before the others: the process goes on */
		pthread_t thread;
		pthread_create(&thread, NULL, rest, NULL);
		alarm(1);
		syscall(SYS_exit, 3);
	}
	CHECK(waitpid(child, NULL, WNOHANG) == 0);
	CHECK(status_of(child) == SIGALRM);
	/* the child of vfork writes to its parent's memory, and the parent waits for it */
	static volatile int written;
	child = vfork();
	if (!child) {
		usleep(5000);
		written = 1;
		_exit(5);
	}
	CHECK(written == 1 && status_of(child) == 5 << 8);
}

static void waits(void)
{
	int status;
	siginfo_t info;
	FAILS(waitpid(-1, &status, 0), ECHILD);
	FAILS(waitpid(getpid(), &status, 0), ECHILD);
	FAILS(waitpid(-1, &status, 0x100), EINVAL);
	FAILS(waitid(P_ALL, 0, &info, WNOHANG), EINVAL);
	pid_t child = fork();
	if (!child)
		rest(NULL);
	CHECK(waitpid(child, &status, WNOHANG) == 0);
	kill(child, SIGSTOP);
	CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	CHECK(waitpid(child, &status, WUNTRACED | WNOHANG) == 0);
	kill(child, SIGCONT);
	CHECK(waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status));
	kill(child, SIGKILL);
	CHECK(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0);
	CHECK(info.si_code == CLD_KILLED && info.si_status == SIGKILL && info.si_pid == child);
	struct rusage usage;
	CHECK(wait4(child, &status, 0, &usage) == child && WTERMSIG(status) == SIGKILL);
	FAILS(kill(child, 0), ESRCH);
	/* nobody wants to know */
	signal(SIGCHLD, SIG_IGN);
	child = fork();
	if (!child)
		_exit(0);
	FAILS(waitpid(child, &status, 0), ECHILD);
	signal(SIGCHLD, SIG_DFL);
	/* orphans go to the nearest process that asked for them */
	int ends[2];
	CHECK(pipe(ends) == 0);
	CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	child = fork();
	if (!child) {
		if (!fork()) {
			while (getppid() != atoi(getenv("REAPER") ? getenv("REAPER") : "0"))
				usleep(1000);
			pid_t parent = getppid();
			_exit(write(ends[1], &parent, sizeof parent) != sizeof parent);
		}
		_exit(0);
	}
	status_of(child);
	pid_t parent = 0;
	CHECK(read(ends[0], &parent, sizeof parent) == sizeof parent && parent == getpid());
	CHECK(wait(&status) > 0 && status == 0);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static int shared;

static int child_of_clone(void *arg)
{
	shared = *(int *)arg;
	return 9;
}

static void clones(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int value = 33, status;
	pid_t tid = 0;
	pid_t child = clone(child_of_clone, stack + sizeof stack, CLONE_VM | CLONE_PARENT_SETTID | SIGCHLD, &value, &tid);
	CHECK(child > 0 && tid == child && status_of(child) == 9 << 8 && shared == 33);
	/* no exit signal: only __WALL or __WCLONE sees it */
	child = clone(child_of_clone, stack + sizeof stack, CLONE_VM, &value);
	FAILS(waitpid(child, &status, WNOHANG), ECHILD);
	CHECK(waitpid(child, &status, __WALL) == child);
	FAILS(syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0), EINVAL);
	FAILS(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0), EINVAL);
	FAILS(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0), EINVAL);
	struct clone_args args = {.exit_signal = SIGCHLD};
	child = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (!child)
		_exit(4);
	CHECK(status_of(child) == 4 << 8);
	FAILS(syscall(SYS_clone3, &args, 32), EINVAL);
	args.exit_signal = 100;
	FAILS(syscall(SYS_clone3, &args, sizeof args), EINVAL);
	args = (struct clone_args){.exit_signal = SIGCHLD, .stack = 4096};
	FAILS(syscall(SYS_clone3, &args, sizeof args), EINVAL);
}

static void *exec_self(void *arg)
{
	execl(self, self, "executed", arg, NULL);
	_exit(99);
}

static void executes(void)
{
	/* by a thread that is not the first: it becomes it */
	pid_t child = fork();
	if (!child) {
		pthread_t thread;
		pthread_create(&thread, NULL, spin, NULL);
		pthread_create(&thread, NULL, exec_self, "by a thread");
		rest(NULL);
	}
	CHECK(status_of(child) == 11 << 8);

	char *long_argument = malloc(200000);
	memset(long_argument, 'a', 199999);
	long_argument[199999] = 0;
	FAILS(execl(self, self, long_argument, NULL), E2BIG);
	FAILS(execl("/no/such/file", "x", NULL), ENOENT);
	FAILS(execl("/", "x", NULL), EACCES);
	FAILS(syscall(SYS_execve, 8, NULL, NULL), EFAULT);
	FAILS(syscall(SYS_execve, self, 8, NULL), EFAULT);

	char name[] = "/tmp/script-XXXXXX";
	mkdir("/tmp", 0777);
	int fd = mkstemp(name);
	CHECK(fd >= 0);
	FAILS(execl(name, name, NULL), EACCES);
	fchmod(fd, 0755);
	FAILS(execl(name, name, NULL), ETXTBSY);
	dprintf(fd, "#!%s executed\n", self);
	close(fd);
	child = fork();
	if (!child) {
		execl(name, "name that is lost", "script", NULL);
		_exit(98);
	}
	CHECK(status_of(child) == 12 << 8);
	/* a script that is its own interpreter */
	fd = open(name, O_WRONLY | O_TRUNC);
	dprintf(fd, "#!%s\n", name);
	close(fd);
	FAILS(execl(name, name, NULL), ELOOP);
	/* neither a program nor a script; and a header with nothing behind it */
	fd = open(name, O_WRONLY | O_TRUNC);
	dprintf(fd, "nothing\n");
	close(fd);
	FAILS(execl(name, name, NULL), ENOEXEC);
	char header[64];
	int program = open(self, O_RDONLY);
	CHECK(read(program, header, sizeof header) == sizeof header);
	close(program);
	fd = open(name, O_WRONLY | O_TRUNC);
	CHECK(write(fd, header, sizeof header) == sizeof header);
	close(fd);
	FAILS(execl(name, name, NULL), ENOEXEC);
	unlink(name);

	/* open files stay open, or not; a directory's descriptor leads on */
	int keep = dup(1), gone = fcntl(1, F_DUPFD_CLOEXEC, 0);
	char text[32];
	snprintf(text, sizeof text, "%d,%d", keep, gone);
	child = fork();
	if (!child) {
		int file = open(self, O_PATH | O_CLOEXEC);
		char *argv[] = {(char *)self, "executed", "files", text, NULL}, *env[] = {NULL};
		syscall(SYS_execveat, file, "", argv, env, AT_EMPTY_PATH);
		_exit(97);
	}
	CHECK(status_of(child) == 13 << 8);
	close(keep);
	close(gone);
}

/* A program that becomes another user's, unless its caller may gain nothing. */
static void set_user_id(void)
{
	char name[] = "/tmp/suid-XXXXXX", buffer[65536];
	int to = mkstemp(name), from = open(self, O_RDONLY);
	ssize_t count;
	while ((count = read(from, buffer, sizeof buffer)) > 0)
		CHECK(write(to, buffer, (size_t)count) == count);
	CHECK(fchown(to, 1234, 4321) == 0 && fchmod(to, 06755) == 0);
	close(from);
	close(to);
	for (int limited = 0; limited < 2; limited++) {
		pid_t child = fork();
		if (!child) {
			if (setgid(100) || setuid(1000) || (limited && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))
				_exit(96);
			execl(name, name, "executed", limited ? "as before" : "as another", NULL);
			_exit(95);
		}
		CHECK(status_of(child) == (14 + limited) << 8);
	}
	unlink(name);
}

/* What this program does when it was executed by itself. */
static int executed(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[2], "by a thread"))
		return getpid() == syscall(SYS_gettid) ? 11 : 1;
	if (argc == 4 && !strcmp(argv[3], "script"))
		return !strncmp(argv[2], "/tmp/script-", 12) ? 12 : 2;
	if (argc == 4 && !strcmp(argv[2], "files")) {
		int keep, gone;
		sscanf(argv[3], "%d,%d", &keep, &gone);
		return fcntl(keep, F_GETFD) == 0 && fcntl(gone, F_GETFD) == -1 ? 13 : 3;
	}
	if (argc == 3 && !strcmp(argv[2], "as another")) {
		uid_t real, effective, saved;
		getresuid(&real, &effective, &saved);
		int right = real == 1000 && effective == 1234 && saved == 1234 && getegid() == 4321;
		return right && getauxval(AT_SECURE) == 1 ? 14 : 5;
	}
	if (argc == 3 && !strcmp(argv[2], "as before"))
		return geteuid() == 1000 && getegid() == 100 && getauxval(AT_SECURE) == 0 ? 15 : 6;
	return 4;
}

static void groups(void)
{
	pid_t child = fork();
	if (!child) {
		failures = 0;
		CHECK(setsid() == getpid() && getpgrp() == getpid() && getsid(0) == getpid());
		FAILS(setsid(), EPERM);
		FAILS(setpgid(0, 0), EPERM);
		pid_t member = fork();
		if (!member)
			rest(NULL);
		CHECK(setpgid(member, member) == 0 && getpgid(member) == member);
		FAILS(setpgid(member, 999999), EPERM);
		FAILS(setpgid(-1, 0), EINVAL);
		FAILS(setpgid(0, -1), EINVAL);
		CHECK(kill(-member, SIGTERM) == 0);
		CHECK(status_of(member) == SIGTERM);
		FAILS(kill(-member, 0), ESRCH);
		_exit(failures);
	}
	CHECK(status_of(child) == 0);
	/* a group with a stopped member is orphaned: it gets SIGHUP and SIGCONT */
	int ends[2];
	CHECK(pipe(ends) == 0);
	child = fork();
	if (!child) {
		failures = 0;
		setsid();
		pid_t leader = fork();
		if (!leader) {
			setpgid(0, 0);
			pid_t stopped = fork();
			if (!stopped) {
				kill(getpid(), SIGSTOP);
				_exit(1);
			}
			int status;
			waitpid(stopped, &status, WUNTRACED);
			CHECK(write(ends[1], &stopped, sizeof stopped) == sizeof stopped);
			rest(NULL);
		}
		pid_t stopped;
		CHECK(read(ends[0], &stopped, sizeof stopped) == sizeof stopped);
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		kill(leader, SIGKILL);
		CHECK(status_of(leader) == SIGKILL);
		/* this process is in the session, so the group is not orphaned until it ends, too */
		CHECK(waitpid(stopped, NULL, WNOHANG) == 0);
		kill(stopped, SIGKILL);
		CHECK(status_of(stopped) == SIGKILL);
		_exit(failures);
	}
	CHECK(status_of(child) == 0);
	close(ends[0]);
	close(ends[1]);
}

static void limits(void)
{
	struct rlimit limit;
	CHECK(getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur > 0);
	FAILS(getrlimit(16, &limit), EINVAL);
	limit = (struct rlimit){2, 1};
	FAILS(setrlimit(RLIMIT_CORE, &limit), EINVAL);
	pid_t child = fork();
	if (!child) {
		limit = (struct rlimit){1, 2};
		setrlimit(RLIMIT_CPU, &limit);
		spin(NULL);
	}
	int status = status_of(child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU);
	errno = 0;
	CHECK(getpriority(PRIO_PROCESS, 0) == 0 && errno == 0);
	FAILS(getpriority(3, 0), EINVAL);
	child = fork();
	if (!child) {
		failures = 0;
		CHECK(nice(5) == 5);
		CHECK(setgid(100) == 0 && setuid(1000) == 0 && getuid() == 1000 && geteuid() == 1000);
		FAILS(setuid(0), EPERM);
		FAILS(kill(getppid(), 0), EPERM);
		FAILS(setpriority(PRIO_PROCESS, 0, 0), EACCES);
		FAILS(sethostname("x", 1), EPERM);
		limit = (struct rlimit){1, 1};
		CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
		FAILS(fork(), EAGAIN);
		_exit(failures);
	}
	CHECK(status_of(child) == 0);
	char name[16];
	CHECK(prctl(PR_SET_NAME, "a name that is too long") == 0 && prctl(PR_GET_NAME, name) == 0);
	CHECK(!strcmp(name, "a name that is "));
	FAILS(prctl(PR_SET_DUMPABLE, 7), EINVAL);
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "executed"))
		return executed(argc, argv);
	self = argv[0];
	char pid[16];
	snprintf(pid, sizeof pid, "%d", getpid());
	setenv("REAPER", pid, 1);
	setvbuf(stdout, NULL, _IONBF, 0);
	ends();
	waits();
	clones();
	executes();
	set_user_id();
	groups();
	limits();
	return finish();
}
