//! How many processors there are for the threads of this process.

use std::fmt::{Arguments, Write};
use std::fs::File;
use std::io::Read;
use std::iter::successors;
use std::mem::zeroed;

use super::cancellation::uncancelable;
use super::{TruncatingWriter, until_nul};

/// How many processors this thread may run on, at least 1; or, where they are more than a set has room for,
/// how many there are.
pub fn processors() -> usize {
    // SAFETY: a set of processors is integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the address is good for the size.
    let known = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } == 0;
    // SAFETY: the set was filled in.
    let count = known.then(|| i64::from(unsafe { libc::CPU_COUNT(&set) }));
    // SAFETY: no preconditions.
    let count = count.unwrap_or_else(|| unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) });
    usize::try_from(count).map_or(1, |count| count.max(1))
}

/// How many processors the threads of this process may keep busy at once, at least 1: [`processors`], or as many as the
/// quotas of its control groups pay for. [`std::thread::available_parallelism`] says the same, but it ends the process
/// when there is no memory. A group whose name is longer than a few hundred bytes counts as one without a quota, and
/// groups of version 1 are looked for where they are mounted by default.
pub fn processors_by_quota() -> usize {
    let quota = || quota(File::open("/proc/self/cgroup").ok()?, &read_short);
    processors().min(uncancelable(quota).unwrap_or(usize::MAX))
}

/// What a file of a control group says, behind it zeros.
type Short = [u8; 64];

/// Allocates nothing: the path is short.
fn read_short(path: &str) -> Short {
    let mut text = [0; 64];
    let _ = File::open(path).and_then(|mut file| file.read(&mut text)); // Else it says nothing.
    text
}

/// How many processors the quotas of the groups allow, at least 1, given what /proc/PID/cgroup says: cgroups(7).
fn quota(mut groups: impl Read, read: &dyn Fn(&str) -> Short) -> Option<usize> {
    let (mut text, mut length, mut least) = ([0; 1024], 0, None);
    // A line that does not fit is the last one that is read.
    while let Ok(bytes @ 1..) = groups.read(&mut text[length..]) {
        length += bytes;
        let mut done = 0;
        while let Some(end) = text[done..length].iter().position(|byte| *byte == b'\n') {
            let line = str::from_utf8(&text[done..done + end]);
            let quota = line.ok().and_then(|line| quota_of_line(line, read));
            least = [least, quota].into_iter().flatten().min();
            done += end + 1;
        }
        text.copy_within(done..length, 0);
        length -= done;
    }
    least
}

/// A group's quota holds for those inside it.
fn quota_of_line(line: &str, read: &dyn Fn(&str) -> Short) -> Option<usize> {
    let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
    let is_first_version = controllers.split(',').any(|controller| controller == "cpu");
    let limit_of = match controllers {
        "" => limit,
        _ if is_first_version => limit_of_first_version,
        _ => return None,
    };
    let inner = Some(group.trim_end_matches('/'));
    let groups = successors(inner, |group| Some(group.rsplit_once('/')?.0));
    groups.filter_map(|group| limit_of(group, read)).min()
}

fn limit(group: &str, read: &dyn Fn(&str) -> Short) -> Option<usize> {
    let text = text_at(format_args!("/sys/fs/cgroup{group}/cpu.max"), read);
    processors_of(number(&text, 0)?, number(&text, 1)?)
}

fn limit_of_first_version(group: &str, read: &dyn Fn(&str) -> Short) -> Option<usize> {
    let quota = text_at(format_args!("/sys/fs/cgroup/cpu{group}/cpu.cfs_quota_us"), read);
    let period = text_at(format_args!("/sys/fs/cgroup/cpu{group}/cpu.cfs_period_us"), read);
    processors_of(number(&quota, 0)?, number(&period, 0)?)
}

/// Without memory of the heap: a path that does not fit is of no file.
fn text_at(path: Arguments, read: &dyn Fn(&str) -> Short) -> Short {
    let mut bytes = [0; 300];
    let mut path_text = TruncatingWriter::new(&mut bytes);
    let _ = path_text.write_fmt(path);
    str::from_utf8(path_text.written()).map_or([0; 64], read)
}

/// A number among words; none of "max" and of -1, which are no limit.
fn number(text: &Short, nth: usize) -> Option<usize> {
    str::from_utf8(until_nul(text)).ok()?.split_ascii_whitespace().nth(nth)?.parse().ok()
}

fn processors_of(quota_us: usize, period_us: usize) -> Option<usize> {
    Some(quota_us.checked_div(period_us)?.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of control groups, by their paths.
    fn in_files(groups: &str, files: &[(&str, &str)]) -> Option<usize> {
        quota(groups.as_bytes(), &|path| {
            let mut text = [0; 64];
            if let Some((_, of_file)) = files.iter().find(|(of_file, _)| *of_file == path) {
                text[..of_file.len()].copy_from_slice(of_file.as_bytes());
            }
            text
        })
    }

    #[test]
    fn the_least_quota_of_a_group_and_those_around_it_counts() {
        let outer = ("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
        let inner = ("/sys/fs/cgroup/a/b/cpu.max", "450000 100000\n");
        assert_eq!(in_files("0::/a/b\n", &[outer, inner]), Some(3));
        assert_eq!(in_files("0::/a/b\n", &[inner]), Some(4));
        assert_eq!(in_files("0::/a\n", &[outer, inner]), Some(3));
        assert_eq!(in_files("0::/c\n", &[outer, inner]), None);
        assert_eq!(in_files("0::/\n", &[("/sys/fs/cgroup/cpu.max", "200000 100000")]), Some(2));
    }

    #[test]
    fn less_than_a_processor_is_one_and_no_quota_is_none() {
        let file = |text| in_files("0::/a\n", &[("/sys/fs/cgroup/a/cpu.max", text)]);
        assert_eq!(file("5000 100000\n"), Some(1));
        assert_eq!(file("max 100000\n"), None);
        assert_eq!(file("200000 0\n"), None);
        assert_eq!(file("200000\n"), None);
        assert_eq!(file(""), None);
        assert_eq!(file("\u{fffd}"), None);
        for no_groups in ["", "0", "0:", "0::", "\n\n", "1:memory:/a\n"] {
            assert_eq!(in_files(no_groups, &[("/sys/fs/cgroup/a/cpu.max", "1 1")]), None);
        }
        assert_eq!(in_files(&format!("0::/{}\n", "a/".repeat(1000)), &[]), None);
    }

    #[test]
    fn groups_of_version_1_have_two_files() {
        let quota = ("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "250000\n");
        let none = ("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
        let period = ("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
        let groups = "4:memory:/b\n3:cpuset:/b\n2:cpu,cpuacct:/a\n0::/\n";
        assert_eq!(in_files(groups, &[quota, period]), Some(2));
        assert_eq!(in_files(groups, &[none, period]), None);
        assert_eq!(in_files(groups, &[quota]), None);
        // Of a machine with many long groups.
        let others =
            (0..40).map(|n| format!("{n}:x{n}:/{}\n", "b".repeat(100))).collect::<String>();
        assert_eq!(in_files(&(others.clone() + groups), &[quota, period]), Some(2));
        assert_eq!(in_files(&(others + &"c".repeat(2000) + "\n" + groups), &[quota, period]), None);
    }

    #[test]
    fn the_standard_library_counts_as_many() {
        let theirs = std::thread::available_parallelism().unwrap().get();
        assert_eq!(processors_by_quota(), theirs);
    }
}
