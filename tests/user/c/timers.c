/* Clocks, sleeps and timers. */
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <unistd.h>

static volatile int hits;
static siginfo_t last;

static void count(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	last = *info;
	hits++;
}

static long nanoseconds(const struct timespec *time)
{
	return time->tv_sec * 1000000000L + time->tv_nsec;
}

static void clocks(void)
{
	static const clockid_t same[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_MONOTONIC_RAW};
	CHECK(getauxval(AT_SYSINFO_EHDR) != 0);
	for (unsigned i = 0; i < sizeof same / sizeof *same; i++) {
		/* what the library reads by itself and what the kernel says are one clock */
		struct timespec a, b, c, res;
		CHECK(clock_gettime(same[i], &a) == 0);
		CHECK(syscall(SYS_clock_gettime, same[i], &b) == 0);
		CHECK(clock_gettime(same[i], &c) == 0);
		CHECK(nanoseconds(&a) <= nanoseconds(&b) && nanoseconds(&b) <= nanoseconds(&c));
		CHECK(clock_getres(same[i], &res) == 0 && res.tv_sec == 0 && res.tv_nsec > 0);
	}
	struct timespec t;
	struct timeval day;
	CHECK(clock_gettime(CLOCK_REALTIME_COARSE, &t) == 0 && gettimeofday(&day, NULL) == 0);
	CHECK(day.tv_sec - t.tv_sec <= 1 && time(NULL) - day.tv_sec <= 1 && day.tv_sec > 1600000000);
	FAILS(clock_gettime(99, &t), EINVAL);
	FAILS(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8), EFAULT);
	FAILS(clock_settime(CLOCK_MONOTONIC, &t), EINVAL);
	t = (struct timespec){0, 1000000000};
	FAILS(clock_settime(CLOCK_REALTIME, &t), EINVAL);
	FAILS(nanosleep(&t, NULL), EINVAL);
	/* setting the clock moves the time of day, and nothing else */
	struct timespec real, mono, later;
	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	real.tv_sec += 1000;
	if (clock_settime(CLOCK_REALTIME, &real) == 0) {
		clock_gettime(CLOCK_REALTIME, &later);
		CHECK(later.tv_sec - real.tv_sec >= 0 && later.tv_sec - real.tv_sec < 5);
		clock_gettime(CLOCK_MONOTONIC, &later);
		CHECK(later.tv_sec - mono.tv_sec < 5);
		clock_gettime(CLOCK_REALTIME, &real);
		real.tv_sec -= 1000;
		CHECK(clock_settime(CLOCK_REALTIME, &real) == 0);
	}
}

static void sleeps(void)
{
	long start = milliseconds();
	CHECK(usleep(50000) == 0 && milliseconds() - start >= 50);
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += 50000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	CHECK(nanoseconds(&now) >= nanoseconds(&until));
	CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
	CHECK(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &until, NULL) == EINVAL);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 30000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	CHECK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL) == 0);
}

static void intervals(void)
{
	struct itimerval timer = {{0, 20000}, {0, 20000}}, none = {{0, 0}, {0, 0}}, old;
	hits = 0;
	CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
	while (hits < 3)
		pause();
	CHECK(last.si_signo == SIGALRM && last.si_code == SI_KERNEL);
	CHECK(setitimer(ITIMER_REAL, &none, &old) == 0 && old.it_interval.tv_usec == 20000);
	CHECK(getitimer(ITIMER_REAL, &old) == 0 && old.it_value.tv_sec == 0 && old.it_value.tv_usec == 0);
	FAILS(getitimer(3, &old), EINVAL);
	timer.it_value.tv_usec = 1000000;
	FAILS(setitimer(ITIMER_REAL, &timer, NULL), EINVAL);
	CHECK(alarm(100) == 0 && alarm(0) == 100);
	static const int kind[] = {ITIMER_VIRTUAL, ITIMER_PROF};
	for (int i = 0; i < 2; i++) {
		timer = (struct itimerval){{0, 0}, {0, 50000}};
		hits = 0;
		CHECK(setitimer(kind[i], &timer, NULL) == 0);
		long start = milliseconds();
		while (!hits && milliseconds() - start < 10000)
			;
		CHECK(hits == 1 && last.si_signo == (i ? SIGPROF : SIGVTALRM));
	}
	struct rusage usage;
	CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
	CHECK(usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec >= 50000);
	struct timespec used;
	CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0 && nanoseconds(&used) >= 50000000);
	struct tms tms;
	CHECK(times(&tms) != (clock_t)-1 && tms.tms_utime >= 4);
}

static void posix(void)
{
	timer_t timer;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 77};
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	struct itimerspec every = {{0, 5000000}, {0, 5000000}}, left;
	hits = 0;
	CHECK(timer_settime(timer, 0, &every, NULL) == 0);
	while (hits < 3)
		pause();
	CHECK(last.si_code == SI_TIMER && last.si_value.sival_int == 77);
	CHECK(timer_gettime(timer, &left) == 0 && left.it_interval.tv_nsec == 5000000 && left.it_value.tv_sec == 0);
	/* while the signal is blocked, expirations are counted and one is delivered */
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	usleep(60000);
	siginfo_t info;
	CHECK(sigwaitinfo(&set, &info) == SIGRTMIN && info.si_code == SI_TIMER && info.si_overrun >= 5);
	CHECK(timer_settime(timer, 0, &(struct itimerspec){{0, 0}, {0, 0}}, NULL) == 0);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	CHECK(timer_delete(timer) == 0);
	CHECK(syscall(SYS_timer_delete, 12345) == -1 && errno == EINVAL);
	event.sigev_signo = 100;
	FAILS(timer_create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
	event = (struct sigevent){.sigev_notify = SIGEV_NONE};
	CHECK(timer_create(CLOCK_REALTIME, &event, &timer) == 0);
	CHECK(timer_settime(timer, 0, &(struct itimerspec){{0, 0}, {100, 0}}, NULL) == 0);
	CHECK(timer_gettime(timer, &left) == 0 && left.it_value.tv_sec >= 98);
	CHECK(timer_delete(timer) == 0);
}

int main(void)
{
	static const int used[] = {SIGALRM, SIGVTALRM, SIGPROF, 0};
	struct sigaction action = {.sa_sigaction = count, .sa_flags = SA_SIGINFO};
	for (int i = 0; used[i]; i++)
		sigaction(used[i], &action, NULL);
	sigaction(SIGRTMIN, &action, NULL);
	clocks();
	sleeps();
	intervals();
	posix();
	return finish();
}
