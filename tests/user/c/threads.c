/* POSIX threads of glibc: creation, mutexes, conditions, barriers, keys, cancellation, robust mutexes, semaphores. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(what) \
	do { \
		if (!(what)) { \
			printf("line %d: %s\n", __LINE__, #what); \
			exit(1); \
		} \
	} while (0)

enum { THREADS = 8, ROUNDS = 2000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_key_t key;
static sem_t sem;
static long counter, destroyed;
static __thread long own;

static void destroy(void *value)
{
	__atomic_fetch_add(&destroyed, (long)value, __ATOMIC_RELAXED);
}

static void *count(void *number)
{
	pthread_setspecific(key, (void *)1L);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		own++;
		pthread_mutex_unlock(&mutex);
	}
	CHECK(own == ROUNDS);
	return number;
}

static void *forever(void *unused)
{
	(void)unused;
	while (pause())
		;
	return NULL;
}

static void *die_with_lock(void *robust)
{
	pthread_mutex_lock(robust);
	return NULL;
}

static void *post(void *unused)
{
	(void)unused;
	usleep(20000);
	sem_post(&sem);
	pthread_mutex_lock(&mutex);
	counter = -1;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS], one;
	void *result;

	pthread_key_create(&key, destroy);
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (long i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, count, (void *)i) == 0);
	for (long i = 0; i < THREADS; i++) {
		CHECK(pthread_join(threads[i], &result) == 0);
		CHECK(result == (void *)i);
	}
	CHECK(counter == (long)THREADS * ROUNDS);
	CHECK(destroyed == THREADS);

	CHECK(pthread_create(&one, NULL, forever, NULL) == 0);
	CHECK(pthread_cancel(one) == 0);
	CHECK(pthread_join(one, &result) == 0 && result == PTHREAD_CANCELED);

	sem_init(&sem, 0, 0);
	CHECK(pthread_create(&one, NULL, post, NULL) == 0);
	CHECK(sem_wait(&sem) == 0);
	pthread_mutex_lock(&mutex);
	while (counter != -1)
		pthread_cond_wait(&cond, &mutex);
	pthread_mutex_unlock(&mutex);
	pthread_join(one, NULL);

	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 20000000;
	if (until.tv_nsec >= 1000000000)
		until.tv_sec++, until.tv_nsec -= 1000000000;
	pthread_mutex_lock(&mutex);
	CHECK(pthread_cond_timedwait(&cond, &mutex, &until) == ETIMEDOUT);
	pthread_mutex_unlock(&mutex);

	/* The owner dies: the kernel walks its robust list. */
	pthread_mutexattr_t attr;
	pthread_mutex_t robust;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	CHECK(pthread_create(&one, NULL, die_with_lock, &robust) == 0);
	pthread_join(one, NULL);
	CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);
	CHECK(pthread_mutex_consistent(&robust) == 0);
	pthread_mutex_unlock(&robust);

	/* A mutex and a condition shared by two processes. */
	struct shared {
		pthread_mutex_t mutex;
		pthread_cond_t cond;
		int turn;
	} *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_condattr_t cattr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_condattr_init(&cattr);
	pthread_condattr_setpshared(&cattr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&shared->mutex, &attr);
	pthread_cond_init(&shared->cond, &cattr);
	int child = fork() == 0;
	for (int i = 0; i < 100; i++) {
		pthread_mutex_lock(&shared->mutex);
		while (shared->turn % 2 != child)
			pthread_cond_wait(&shared->cond, &shared->mutex);
		shared->turn++;
		pthread_cond_signal(&shared->cond);
		pthread_mutex_unlock(&shared->mutex);
	}
	if (child)
		_exit(0);
	int status;
	CHECK(wait(&status) > 0 && status == 0 && shared->turn == 200);
	puts("all threads done");
	return 0;
}
