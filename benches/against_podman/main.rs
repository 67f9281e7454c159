//! The daemon beside `podman system service`: one workload, both servers in turn, in one run.
//!
//! `make bench`, or `cargo bench --bench against-podman -- --help`. Needs root: every store is on a
//! fresh ext4 file system of its own, on a loop device, so that what is written can be counted.
#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the result is what is printed")]
#![allow(clippy::cast_precision_loss, reason = "ratios are printed with two digits")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod commit;
mod disk;
mod forms;
mod image;
mod measure;
mod process;
mod rates;
mod registry;
mod removals;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum as _};

use measure::{Bench, Part};

/// Measures imaged beside podman system service.
#[derive(Debug, Parser)]
struct Args {
    /// Measure only this; may be given several times
    #[arg(long = "part", value_enum)]
    parts: Vec<Part>,
    /// A tenth of the image, one round: does the harness work?
    #[arg(long)]
    quick: bool,
    /// Rounds of the measurements that move the whole image
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Size of the image in percent of 1 GB, and of a container's changes in percent of 500 MB
    #[arg(long, default_value_t = 100)]
    percent: u64,
    /// Images in the store for lists and starts
    #[arg(long, default_value_t = 500)]
    images: usize,
    /// Where disks and archives are made; needs about 8 GB
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Writes the raw numbers to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Fails when a requirement is not met
    #[arg(long)]
    check: bool,
    /// Given by `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if !args.bench {
        println!("not a test: run `make bench`");
        return ExitCode::SUCCESS;
    }
    if args.quick {
        (args.rounds, args.percent) = (1, 10);
    }
    if args.parts.is_empty() {
        args.parts = Part::value_variants().to_vec();
    }
    let Args { dir, percent, rounds, images, .. } = args;
    let bench = Bench { parent: dir, percent, rounds, images };
    let report = bench.run(&args.parts);
    print!("{}", report.table());
    if let Some(path) = &args.json {
        std::fs::write(path, report.json()).unwrap();
    } else {
        println!("{}", report.json());
    }
    if args.check && !report.all_met() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
