//! The system calls that a thread can be found in, by their names.

/// The name of a system call, as in `read()`, and whether its first argument is a descriptor.
pub fn name(number: i64) -> (String, bool) {
    let known = OF_DESCRIPTORS.iter().map(|call| (call, true));
    let known = known.chain(OLDER.iter().map(|call| (call, false)));
    let known = known.chain(OTHERS.iter().map(|call| (call, false)));
    let mut matching = known.filter(|((known, _), _)| *known == number);
    match matching.next() {
        Some(((_, name), has_descriptor)) => (format!("{name}()"), has_descriptor),
        None => (format!("system call {number}"), false),
    }
}

macro_rules! calls {
    ($($name:ident = $number:ident),* $(,)?) => {
        &[$((libc::$number as i64, stringify!($name))),*]
    };
}

const OF_DESCRIPTORS: &[(i64, &str)] = calls![
    read = SYS_read,
    write = SYS_write,
    readv = SYS_readv,
    writev = SYS_writev,
    pread = SYS_pread64,
    pwrite = SYS_pwrite64,
    preadv2 = SYS_preadv2,
    pwritev2 = SYS_pwritev2,
    connect = SYS_connect,
    accept = SYS_accept,
    accept4 = SYS_accept4,
    recvfrom = SYS_recvfrom,
    recvmsg = SYS_recvmsg,
    sendto = SYS_sendto,
    sendmsg = SYS_sendmsg,
    recvmmsg = SYS_recvmmsg,
    sendmmsg = SYS_sendmmsg,
    fsync = SYS_fsync,
    fdatasync = SYS_fdatasync,
    flock = SYS_flock,
    fcntl = SYS_fcntl,
    ioctl = SYS_ioctl,
    close = SYS_close,
    ftruncate = SYS_ftruncate,
    fallocate = SYS_fallocate,
    getdents = SYS_getdents64,
    epoll_pwait = SYS_epoll_pwait,
    epoll_pwait2 = SYS_epoll_pwait2,
    sendfile = SYS_sendfile,
];

const OTHERS: &[(i64, &str)] = calls![
    ppoll = SYS_ppoll,
    pselect = SYS_pselect6,
    futex = SYS_futex,
    nanosleep = SYS_nanosleep,
    clock_nanosleep = SYS_clock_nanosleep,
    wait4 = SYS_wait4,
    waitid = SYS_waitid,
    sigtimedwait = SYS_rt_sigtimedwait,
    sigsuspend = SYS_rt_sigsuspend,
    msgrcv = SYS_msgrcv,
    msgsnd = SYS_msgsnd,
    semtimedop = SYS_semtimedop,
    openat = SYS_openat,
    statx = SYS_statx,
    unlinkat = SYS_unlinkat,
    renameat2 = SYS_renameat2,
    mkdirat = SYS_mkdirat,
    sync = SYS_sync,
    mmap = SYS_mmap,
    munmap = SYS_munmap,
    madvise = SYS_madvise,
    mprotect = SYS_mprotect,
    io_getevents = SYS_io_getevents,
    copy_file_range = SYS_copy_file_range,
    splice = SYS_splice,
    execve = SYS_execve,
    clone = SYS_clone,
    sched_yield = SYS_sched_yield,
    kill = SYS_kill,
    tgkill = SYS_tgkill,
    exit_group = SYS_exit_group,
    getrandom = SYS_getrandom,
];

/// Those that newer architectures have only in another form.
#[cfg(target_arch = "x86_64")]
const OLDER: &[(i64, &str)] = calls![
    poll = SYS_poll,
    select = SYS_select,
    epoll_wait = SYS_epoll_wait,
    pause = SYS_pause,
    open = SYS_open,
    stat = SYS_stat,
    fork = SYS_fork,
    vfork = SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[(i64, &str)] = &[];
