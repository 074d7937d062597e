/* futex(2) itself, and what the C library builds on it. */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long futex(void *word, int op, uint32_t value, void *time_or_count, void *other, uint32_t third)
{
	return syscall(SYS_futex, word, op, value, time_or_count, other, third);
}

static uint32_t word, second;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int go;
static long counter;

static void errors(void)
{
	struct timespec none = {0, 1000000}, bad = {0, 2000000000};
	FAILS(futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0), EAGAIN);
	FAILS(futex(&word, FUTEX_WAIT, 0, &none, NULL, 0), ETIMEDOUT);
	FAILS(futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0), EINVAL);
	FAILS(futex((char *)&word + 1, FUTEX_WAIT, 0, NULL, NULL, 0), EINVAL);
	FAILS(futex((void *)8, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
	FAILS(futex((void *)0xffff888000000000, FUTEX_WAIT, 0, NULL, NULL, 0), EFAULT);
	FAILS(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0), EINVAL);
	FAILS(futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0), EINVAL);
	FAILS(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)1, &second, 5), EAGAIN);
	FAILS(futex(&word, 77, 0, NULL, NULL, 0), ENOSYS);
	CHECK(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0) == 0);
	struct timespec past = {1, 0};
	FAILS(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &past, NULL, ~0u), ETIMEDOUT);
}

static void *waiter(void *bits)
{
	return (void *)futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, (uint32_t)(uintptr_t)bits);
}

/* Wakes until somebody was there to be woken. */
static long until(int op, uint32_t value, void *count, void *other, uint32_t third)
{
	long woken;
	while ((woken = futex(&word, op, value, count, other, third)) == 0)
		usleep(1000);
	return woken;
}

static void queues(void)
{
	pthread_t one, two;
	pthread_create(&one, NULL, waiter, (void *)1);
	pthread_create(&two, NULL, waiter, (void *)2);
	/* bits choose who is woken */
	CHECK(until(FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 2) == 1);
	void *result;
	CHECK(pthread_join(two, &result) == 0 && result == NULL);
	/* to the other word, and woken there */
	CHECK(until(FUTEX_CMP_REQUEUE_PRIVATE, 0, (void *)10, &second, 0) == 1);
	CHECK(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0) == 0);
	CHECK(futex(&second, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0) == 1);
	CHECK(pthread_join(one, &result) == 0 && result == NULL);
	/* changes the second word, wakes on both */
	pthread_create(&one, NULL, waiter, (void *)1);
	usleep(10000);
	CHECK(until(FUTEX_WAKE_OP_PRIVATE, 1, (void *)1, &second, FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 0)) == 1);
	CHECK(second % 5 == 0 && second >= 5);
	pthread_join(one, NULL);
}

static void *worker(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	pthread_mutex_lock(&mutex);
	while (!go)
		pthread_cond_wait(&condition, &mutex);
	pthread_mutex_unlock(&mutex);
	return arg;
}

static pthread_mutex_t robust;

static void *abandon(void *arg)
{
	pthread_mutex_lock(&robust);
	return arg;
}

static void library(void)
{
	enum { WORKERS = 8 };
	pthread_t threads[WORKERS];
	for (long i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&threads[i], NULL, worker, (void *)i) == 0);
	usleep(10000);
	pthread_mutex_lock(&mutex);
	go = 1;
	pthread_cond_broadcast(&condition);
	pthread_mutex_unlock(&mutex);
	for (long i = 0; i < WORKERS; i++) {
		void *result;
		CHECK(pthread_join(threads[i], &result) == 0 && result == (void *)i);
	}
	CHECK(counter == WORKERS * 2000);
	struct timespec soon;
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 20000000;
	soon.tv_sec += soon.tv_nsec / 1000000000;
	soon.tv_nsec %= 1000000000;
	pthread_mutex_lock(&mutex);
	CHECK(pthread_cond_timedwait(&condition, &mutex, &soon) == ETIMEDOUT);
	pthread_mutex_unlock(&mutex);

	/* a lock whose owner ended */
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attributes);
	pthread_create(&threads[0], NULL, abandon, NULL);
	pthread_join(threads[0], NULL);
	CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);
	CHECK(pthread_mutex_consistent(&robust) == 0 && pthread_mutex_unlock(&robust) == 0);
}

static void between_processes(void)
{
	struct {
		sem_t there, back;
	} *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	sem_init(&shared->there, 1, 0);
	sem_init(&shared->back, 1, 0);
	pid_t child = fork();
	if (!child) {
		for (int i = 0; i < 200; i++) {
			sem_wait(&shared->there);
			sem_post(&shared->back);
		}
		_exit(0);
	}
	for (int i = 0; i < 200; i++) {
		sem_post(&shared->there);
		sem_wait(&shared->back);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static pthread_mutex_t inheriting;

static void *count_inheriting(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&inheriting);
		counter++;
		pthread_mutex_unlock(&inheriting);
	}
	return arg;
}

static void *try_inheriting(void *arg)
{
	struct timespec soon;
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 20000000;
	soon.tv_sec += soon.tv_nsec / 1000000000;
	soon.tv_nsec %= 1000000000;
	CHECK(pthread_mutex_trylock(&inheriting) == EBUSY);
	CHECK(pthread_mutex_timedlock(&inheriting, &soon) == ETIMEDOUT);
	CHECK(pthread_mutex_unlock(&inheriting) == EPERM);
	return arg;
}

/* Locks whose owners inherit the priority of those who wait: the C library's use of FUTEX_LOCK_PI. */
static void inheritance(void)
{
	pthread_mutexattr_t attributes;
	pthread_t threads[4], one;
	pthread_mutexattr_init(&attributes);
	CHECK(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT) == 0);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
	CHECK(pthread_mutex_init(&inheriting, &attributes) == 0);
	counter = 0;
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, count_inheriting, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(counter == 8000);
	CHECK(pthread_mutex_lock(&inheriting) == 0);
	CHECK(pthread_mutex_lock(&inheriting) == EDEADLK);
	pthread_create(&one, NULL, try_inheriting, NULL);
	pthread_join(one, NULL);
	CHECK(pthread_mutex_unlock(&inheriting) == 0);

	/* one that a process takes along into its end */
	pthread_mutex_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	CHECK(pthread_mutex_init(shared, &attributes) == 0);
	for (int waits = 0; waits < 2; waits++) {
		int ends[2];
		char byte;
		CHECK(pipe(ends) == 0);
		pid_t child = fork();
		if (child == 0) {
			pthread_mutex_lock(shared);
			CHECK(write(ends[1], "x", 1) == 1);
			/* long enough for the parent to wait, or not at all */
			usleep(waits * 50000);
			_exit(0);
		}
		CHECK(read(ends[0], &byte, 1) == 1);
		if (!waits)
			CHECK(waitpid(child, NULL, 0) == child);
		CHECK(pthread_mutex_lock(shared) == EOWNERDEAD);
		CHECK(pthread_mutex_consistent(shared) == 0);
		CHECK(pthread_mutex_unlock(shared) == 0);
		if (waits)
			CHECK(waitpid(child, NULL, 0) == child);
		CHECK(pthread_mutex_lock(shared) == 0);
		CHECK(pthread_mutex_unlock(shared) == 0);
	}
}

int main(void)
{
	errors();
	queues();
	library();
	between_processes();
	inheritance();
	return finish();
}
