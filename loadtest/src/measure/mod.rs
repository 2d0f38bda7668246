//! What is measured outside the generator: CPU time and memory of processes, busy cores, system calls, the machine.
pub mod cpus;
pub mod filler;
pub mod machine;
pub mod precedence;
pub mod process;
pub mod syscalls;
