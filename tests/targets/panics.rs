// SPDX-License-Identifier: MIT
//! Panics through hooked functions, in four threads at once: raised by one, through one that cleans up, into one that
//! catches. Obeys lines on standard input as throws.cc does: `throw N` answers how many were caught and how many values dropped.
use std::io::{BufRead, Write};
use std::panic::{catch_unwind, set_hook, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};

const THREADS: u64 = 4;
static DROPPED: AtomicU64 = AtomicU64::new(0);

struct Guard(u64);

impl Drop for Guard {
    fn drop(&mut self) {
        DROPPED.fetch_add(self.0, Ordering::Relaxed);
    }
}

/// The same, but the compiler cannot know.
fn opaque<T: Copy>(value: T) -> T {
    unsafe { std::ptr::read_volatile(&value) }
}

#[inline(never)]
#[no_mangle]
pub fn throws(a: u64) -> u64 {
    if a % 2 == 0 {
        panic!("even");
    }
    a
}

#[inline(never)]
#[no_mangle]
pub fn passes(a: u64) -> u64 {
    let guard = Guard(1);
    let function = opaque(throws as fn(u64) -> u64);
    function(a) + guard.0
}

#[inline(never)]
#[no_mangle]
pub fn catches(a: u64) -> u64 {
    let function = opaque(passes as fn(u64) -> u64);
    catch_unwind(AssertUnwindSafe(|| function(a))).is_err() as u64
}

fn main() {
    set_hook(Box::new(|_| ()));
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let n: u64 = line.strip_prefix("throw ").and_then(|n| n.parse().ok()).expect("throw N");
        DROPPED.store(0, Ordering::Relaxed);
        let workers: Vec<_> = (0..THREADS)
            .map(|k| std::thread::spawn(move || (0..n / THREADS).map(|i| opaque(catches as fn(u64) -> u64)(i * THREADS + k)).sum::<u64>()))
            .collect();
        let caught: u64 = workers.into_iter().map(|w| w.join().expect("a thread")).sum();
        println!("{} {}", caught, DROPPED.load(Ordering::Relaxed));
        std::io::stdout().flush().expect("an answer");
    }
}
