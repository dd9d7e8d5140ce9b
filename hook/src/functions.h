// Every function that is hooked, without the other names that some have.
#define HOOKED_FUNCTIONS(X) \
  X(read) X(readv) X(write) X(writev) \
  X(pread) X(pwrite) X(preadv) X(pwritev) X(preadv2) X(pwritev2) \
  X(recv) X(recvfrom) X(recvmsg) X(recvmmsg) X(send) X(sendto) X(sendmsg) X(sendmmsg) X(sendfile) \
  X(accept) X(accept4) X(connect) X(close) \
  X(poll) X(ppoll) X(select) X(pselect) X(epoll_wait) X(epoll_pwait) X(epoll_pwait2) \
  X(sleep) X(usleep) X(nanosleep) X(clock_nanosleep) \
  X(getaddrinfo) X(getnameinfo) X(gethostbyname) X(gethostbyname2) X(gethostbyaddr) \
  X(gethostbyname_r) X(gethostbyname2_r) X(gethostbyaddr_r) \
  X(fcntl) X(flock) X(lockf) X(pthread_sigmask) X(sigprocmask) \
  X(wait) X(waitpid) X(wait3) X(wait4) X(waitid) X(system) X(pclose) \
  X(pthread_mutex_lock) X(pthread_mutex_trylock) X(pthread_mutex_timedlock) X(pthread_mutex_clocklock) \
  X(pthread_mutex_unlock) \
  X(pthread_rwlock_rdlock) X(pthread_rwlock_tryrdlock) X(pthread_rwlock_timedrdlock) \
  X(pthread_rwlock_clockrdlock) X(pthread_rwlock_wrlock) X(pthread_rwlock_trywrlock) \
  X(pthread_rwlock_timedwrlock) X(pthread_rwlock_clockwrlock) X(pthread_rwlock_unlock) \
  X(mtx_lock) X(mtx_trylock) X(mtx_timedlock) X(mtx_unlock)
