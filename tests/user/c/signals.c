/* Signals: queues, masks, information, faults, stacks, restarts. */
#include "check.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static volatile int hits, depth, deepest;
static siginfo_t last;
static sigjmp_buf back;

static void count(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	last = *info;
	hits++;
}

static void on(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
	CHECK(sigaction(number, &action, NULL) == 0);
}

static sigset_t set_of(int a, int b)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, a);
	if (b)
		sigaddset(&set, b);
	return set;
}

static void queues(void)
{
	sigset_t set = set_of(SIGRTMIN, SIGUSR1), pending, old;
	on(SIGUSR1, count, 0);
	on(SIGRTMIN, count, 0);
	hits = 0;
	kill(getpid(), SIGUSR1);
	CHECK(hits == 1 && last.si_code == SI_USER && last.si_pid == getpid());
	sigprocmask(SIG_BLOCK, &set, &old);
	for (int i = 0; i < 5; i++) {
		CHECK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}) == 0);
		kill(getpid(), SIGUSR1);
	}
	CHECK(hits == 1);
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGRTMIN) && sigismember(&pending, SIGUSR1));
	siginfo_t info;
	CHECK(sigtimedwait(&set, &info, &(struct timespec){0, 0}) == SIGUSR1);
	CHECK(sigwaitinfo(&set, &info) == SIGRTMIN && info.si_code == SI_QUEUE && info.si_value.sival_int == 0);
	sigprocmask(SIG_SETMASK, &old, NULL);
	CHECK(hits == 5 && last.si_value.sival_int == 4);
	sigprocmask(SIG_BLOCK, &set, NULL);
	FAILS(sigtimedwait(&set, &info, &(struct timespec){0, 5000000}), EAGAIN);
	/* ignoring drops what is pending */
	kill(getpid(), SIGUSR1);
	signal(SIGUSR1, SIG_IGN);
	sigpending(&pending);
	CHECK(!sigismember(&pending, SIGUSR1));
	sigprocmask(SIG_SETMASK, &old, NULL);

	struct rlimit limit;
	getrlimit(RLIMIT_SIGPENDING, &limit);
	struct rlimit low = {4, limit.rlim_max};
	setrlimit(RLIMIT_SIGPENDING, &low);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int queued = 0;
	while (queued < 10 && sigqueue(getpid(), SIGRTMIN, (union sigval){0}) == 0)
		queued++;
	CHECK(queued <= 4 && errno == EAGAIN);
	CHECK(kill(getpid(), SIGRTMIN) == 0);
	signal(SIGRTMIN, SIG_IGN);
	setrlimit(RLIMIT_SIGPENDING, &limit);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void errors(void)
{
	struct sigaction action = {.sa_handler = SIG_IGN};
	FAILS(sigaction(SIGKILL, &action, NULL), EINVAL);
	FAILS(sigaction(SIGSTOP, &action, NULL), EINVAL);
	FAILS(syscall(SYS_rt_sigaction, 65, &action, NULL, 8), EINVAL);
	FAILS(syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 4), EINVAL);
	FAILS(syscall(SYS_rt_sigprocmask, 3, &action, NULL, 8), EINVAL);
	FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8), EFAULT);
	FAILS(kill(getpid(), 65), EINVAL);
	FAILS(kill(999999, 0), ESRCH);
	FAILS(syscall(SYS_tgkill, getpid(), 999999, 0), ESRCH);
	FAILS(syscall(SYS_tkill, 0, SIGUSR1), EINVAL);
	CHECK(kill(getpid(), 0) == 0);
	siginfo_t forged = {.si_code = SI_USER};
	if (getppid() > 0)
		FAILS(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &forged), EPERM);
}

static void jump(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	last = *info;
	siglongjmp(back, 1);
}

static void faults(void)
{
	on(SIGSEGV, jump, 0);
	on(SIGFPE, jump, 0);
	on(SIGILL, jump, 0);
	on(SIGTRAP, jump, 0);
	if (!sigsetjmp(back, 1))
		*(volatile int *)0x1234 = 1;
	CHECK(last.si_signo == SIGSEGV && last.si_code == SEGV_MAPERR && last.si_addr == (void *)0x1234);
	if (!sigsetjmp(back, 1))
		*(volatile char *)(void *)faults = 1;
	CHECK(last.si_signo == SIGSEGV && last.si_code == SEGV_ACCERR && last.si_addr == (void *)faults);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("xor %%edx, %%edx; xor %%ecx, %%ecx; idiv %%ecx" ::: "eax", "ecx", "edx");
	CHECK(last.si_signo == SIGFPE && last.si_code == FPE_INTDIV);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("ud2");
	CHECK(last.si_signo == SIGILL && last.si_code == ILL_ILLOPN);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("int3");
	CHECK(last.si_signo == SIGTRAP);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("cli");
	CHECK(last.si_signo == SIGSEGV && last.si_code == SI_KERNEL);
	if (!sigsetjmp(back, 1))
		((void (*)(void))0xffff800000001000)();
	CHECK(last.si_signo == SIGSEGV);
}

static char *stack_low, *stack_high;
static volatile int on_stack;

static void where(int number)
{
	(void)number;
	char here;
	on_stack = &here > stack_low && &here < stack_high;
	stack_t now;
	sigaltstack(NULL, &now);
	on_stack += (now.ss_flags == SS_ONSTACK) * 2;
	FAILS(sigaltstack(&now, NULL), EPERM);
}

static void nest(int number)
{
	depth++;
	deepest = depth > deepest ? depth : deepest;
	if (depth < 3)
		raise(number);
	depth--;
}

static void stacks(void)
{
	enum { SIZE = 65536 };
	stack_t stack = {.ss_sp = malloc(SIZE), .ss_size = SIZE};
	stack_low = stack.ss_sp;
	stack_high = stack_low + SIZE;
	CHECK(sigaltstack(&stack, NULL) == 0);
	struct sigaction action = {.sa_handler = where, .sa_flags = SA_ONSTACK};
	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR2);
	CHECK(on_stack == 3);
	stack.ss_size = 100;
	FAILS(sigaltstack(&stack, NULL), ENOMEM);
	stack.ss_flags = 0x40;
	FAILS(sigaltstack(&stack, NULL), EINVAL);
	stack.ss_flags = SS_DISABLE;
	CHECK(sigaltstack(&stack, NULL) == 0);

	action = (struct sigaction){.sa_handler = nest, .sa_flags = SA_NODEFER};
	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR2);
	CHECK(deepest == 3);
	deepest = 0;
	action.sa_flags = SA_RESETHAND;
	sigaction(SIGUSR2, &action, NULL);
	depth = 5;
	raise(SIGUSR2);
	sigaction(SIGUSR2, NULL, &action);
	CHECK(action.sa_handler == SIG_DFL);

	/* a stack that cannot take a frame: the process dies of SIGSEGV */
	int status;
	pid_t child = fork();
	if (!child) {
		on(SIGUSR2, count, 0);
		__asm__ volatile("mov $39, %%eax; syscall; mov %%eax, %%edi; mov $12, %%esi; mov $62, %%eax;"
				 "mov $0x1000, %%rsp; syscall; ud2" ::: "memory");
	}
	CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void edit(int number, siginfo_t *info, void *data)
{
	(void)number, (void)info;
	ucontext_t *context = data;
	context->uc_mcontext.gregs[REG_RAX] = 77;
	context->uc_mcontext.gregs[REG_RIP] += 2;
	sigaddset(&context->uc_sigmask, SIGUSR2);
}

static void contexts(void)
{
	on(SIGILL, edit, 0);
	long result = 0;
	double before = 1.25;
	__asm__ volatile("ud2" : "+a"(result)::"memory");
	CHECK(result == 77 && before == 1.25);
	sigset_t mask;
	sigprocmask(SIG_SETMASK, NULL, &mask);
	CHECK(sigismember(&mask, SIGUSR2));
	sigset_t set = set_of(SIGUSR2, 0);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	/* a frame that says what cannot be */
	int status;
	pid_t child = fork();
	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		__asm__ volatile("mov $15, %%eax; syscall" ::: "memory");
		_exit(1);
	}
	CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* A child that sends SIGUSR1 to its parent, waits, and writes a byte. */
static pid_t disturb(int pipe)
{
	pid_t child = fork();
	if (!child) {
		usleep(20000);
		kill(getppid(), SIGUSR1);
		usleep(20000);
		if (write(pipe, "x", 1) != 1)
			_exit(1);
		_exit(0);
	}
	return child;
}

static void restarts(void)
{
	int ends[2];
	char byte = 0;
	CHECK(pipe(ends) == 0);
	hits = 0;
	on(SIGUSR1, count, SA_RESTART);
	disturb(ends[1]);
	CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x' && hits == 1);
	while (wait(NULL) < 0 && errno == EINTR)
		;
	on(SIGUSR1, count, 0);
	disturb(ends[1]);
	FAILS(read(ends[0], &byte, 1), EINTR);
	CHECK(read(ends[0], &byte, 1) == 1);
	wait(NULL);
	/* sleeps never restart after a handler, and say what is left */
	struct timespec left = {0, 0};
	disturb(ends[1]);
	FAILS(nanosleep(&(struct timespec){5, 0}, &left), EINTR);
	CHECK(left.tv_sec >= 3);
	CHECK(read(ends[0], &byte, 1) == 1);
	wait(NULL);
	/* but go on after a stop */
	long start = milliseconds();
	pid_t parent = getpid(), child = fork();
	if (!child) {
		usleep(20000);
		kill(parent, SIGSTOP);
		usleep(20000);
		kill(parent, SIGCONT);
		_exit(0);
	}
	CHECK(nanosleep(&(struct timespec){0, 200000000}, NULL) == 0);
	CHECK(milliseconds() - start >= 200);
	wait(NULL);

	sigset_t set = set_of(SIGUSR1, 0), old, none, now;
	sigprocmask(SIG_BLOCK, &set, &old);
	hits = 0;
	raise(SIGUSR1);
	sigemptyset(&none);
	FAILS(sigsuspend(&none), EINTR);
	CHECK(hits == 1);
	sigprocmask(SIG_SETMASK, &old, &now);
	CHECK(sigismember(&now, SIGUSR1));
}

static pthread_t other;
static volatile int taken_by_other;

static void note(int number)
{
	(void)number;
	taken_by_other = pthread_equal(pthread_self(), other);
}

static void *wait_a_while(void *arg)
{
	while (!taken_by_other)
		usleep(1000);
	return arg;
}

static void threads(void)
{
	struct sigaction action = {.sa_handler = note};
	sigaction(SIGUSR2, &action, NULL);
	CHECK(pthread_create(&other, NULL, wait_a_while, NULL) == 0);
	sigset_t set = set_of(SIGUSR2, 0);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	/* for the process: the thread that does not block it takes it */
	kill(getpid(), SIGUSR2);
	CHECK(pthread_join(other, NULL) == 0 && taken_by_other);
	/* for this thread alone: it stays here */
	syscall(SYS_tgkill, getpid(), getpid(), SIGUSR2);
	sigset_t pending;
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGUSR2));
	siginfo_t info;
	CHECK(syscall(SYS_rt_sigtimedwait, &set, &info, NULL, 8) == SIGUSR2 && info.si_code == SI_TKILL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int main(void)
{
	queues();
	errors();
	faults();
	stacks();
	contexts();
	restarts();
	threads();
	return finish();
}
