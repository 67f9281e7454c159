//! The parts that the work is made of, each by itself: `cargo bench --bench parts`.
//!
//! For what a change of one of them buys; what a user gets is measured by `against-podman`. Needs root,
//! since layers have owners.
#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![allow(clippy::print_stderr, reason = "what they share prints")]
#![allow(missing_docs, reason = "criterion makes public functions")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::stream;
use imaged::api::Api;
use imaged::engine::local::{LocalEngine, Options};
use imaged::engine::{ImageEngine, ImageName, ListOptions, LoadOptions};
use imaged::layer::{Decoder, GzipWriter, TarReader, UnpackOptions, rebuild, unpack};
use imaged::storage::{Store, StoreOptions};
use imaged::sys::Cancel;
use imaged::task::Tasks;
use sha2::{Digest, Sha256};
use support::archive::Numbers;
use support::{DockerArchive, Layer};
use tempfile::TempDir;
use tower::ServiceExt as _;

/// Images in the store of the small requests.
const IMAGES: usize = 1000;
/// One of them.
const IMAGE: &str = "localhost/many/image-500:1";

criterion_group!(parts, packing, layers, records, requests);
criterion_main!(parts);

/// Text and noise in turn, 16 MiB.
fn content() -> Vec<u8> {
    let mut numbers = Numbers::new(1);
    let mut content = vec![0; 16 << 20];
    numbers.fill(&mut content);
    for (at, block) in content.chunks_mut(4096).enumerate().filter(|(at, _)| at % 2 == 0) {
        for (byte, letter) in block.iter_mut().zip(format!("block {at} of text ").bytes().cycle()) {
            *byte = if *byte < 30 { *byte } else { letter };
        }
    }
    content
}

fn gzip(level: i32, content: &[u8]) -> Vec<u8> {
    let mut writer = GzipWriter::new(Vec::new()).at_level(level);
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

fn unpacked(packed: &[u8]) -> u64 {
    io::copy(&mut Decoder::new(packed).unwrap(), &mut io::sink()).unwrap()
}

/// Hashes and compression, of 16 MiB.
fn packing(c: &mut Criterion) {
    let content = content();
    let mut group = c.benchmark_group("packing");
    group.throughput(Throughput::Bytes(content.len() as u64)).sample_size(10);
    group.bench_function("sha256", |b| b.iter(|| Sha256::digest(&content)));
    for level in [1, 3, 5, 9] {
        group.bench_function(format!("gzip {level}"), |b| b.iter(|| gzip(level, &content)));
    }
    let packed = gzip(5, &content);
    group.bench_function("gunzip", |b| b.iter(|| unpacked(&packed)));
    group.bench_function("zstd 3", |b| b.iter(|| zstd::encode_all(&content[..], 3).unwrap()));
    let packed = zstd::encode_all(&content[..], 3).unwrap();
    group.bench_function("unzstd", |b| b.iter(|| unpacked(&packed)));
}

/// A directory and a handle of it.
fn directory() -> (TempDir, OwnedFd) {
    let directory = tempfile::tempdir().unwrap();
    let handle = File::open(directory.path()).unwrap().into();
    (directory, handle)
}

/// A layer of 2,000 files, from tar to tree and back.
fn layers(c: &mut Criterion) {
    let tar = Layer::random(7, "files", 2000, 6000).tar;
    let (options, cancel) = (UnpackOptions::default(), Cancel::new());
    let mut group = c.benchmark_group("layer");
    group.throughput(Throughput::Bytes(tar.len() as u64)).sample_size(10);
    group.bench_function("read the tar", |b| {
        b.iter(|| {
            let mut reader = TarReader::new(&tar[..]);
            let mut entries = 0;
            while let Some(mut entry) = reader.next_entry().unwrap() {
                io::copy(&mut entry, &mut io::sink()).unwrap();
                entries += 1;
            }
            entries
        });
    });
    group.bench_function("unpack", |b| {
        let unpack = |(_directory, root): (TempDir, OwnedFd)| {
            unpack(&tar[..], &root, io::sink(), &options, &cancel).unwrap()
        };
        b.iter_batched(directory, unpack, BatchSize::PerIteration);
    });
    let (_directory, root) = directory();
    let mut split = Vec::new();
    unpack(&tar[..], &root, &mut split, &options, &cancel).unwrap();
    let roots = [root];
    group.bench_function("rebuild", |b| {
        b.iter(|| rebuild(&split[..], &roots, io::sink(), &cancel).unwrap());
    });
    group.bench_function("read the tar-split", |b| {
        b.iter(|| Decoder::new(&split[..]).unwrap().read_to_end(&mut Vec::new()).unwrap());
    });
}

fn open(directory: &TempDir) -> Store {
    let options = StoreOptions {
        graph_root: directory.path().join("root"),
        run_root: directory.path().join("run"),
        ..StoreOptions::default()
    };
    Store::open(options, &Cancel::new()).unwrap()
}

fn engine(directory: &TempDir) -> LocalEngine {
    LocalEngine::new(open(directory), Options::default(), Tasks::new(2))
}

/// A store of small images.
async fn filled() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let base = Layer::random(51, "base", 20, 500);
    let archive = (0..IMAGES).fold(DockerArchive::default(), |archive, number| {
        let name = format!("localhost/many/image-{number}:1");
        let own = Layer::files(&[("own", name.as_bytes())]);
        archive.and(&[&name], &[base.clone(), own])
    });
    let body = stream::iter([Ok(archive.build().into())]);
    engine(&directory).load(Box::pin(body), LoadOptions::default()).await.unwrap();
    directory
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The records of a store of 1,000 images.
fn records(c: &mut Criterion) {
    let runtime = runtime();
    let directory = runtime.block_on(filled());
    let cancel = Cancel::new();
    let mut group = c.benchmark_group("records");
    group.sample_size(10);
    group.bench_function("read", |b| {
        b.iter(|| open(&directory).snapshot(&cancel).unwrap().images().len());
    });
    let store = open(&directory);
    group.bench_function("find unchanged", |b| {
        b.iter(|| store.snapshot(&cancel).unwrap().images().len());
    });
    let engine = engine(&directory);
    group.bench_function("write", |b| {
        b.to_async(&runtime).iter(|| async {
            engine.tag(&ImageName::new(IMAGE), "localhost/other", "1").await.unwrap();
            engine.untag(&ImageName::new(IMAGE), "localhost/other", "1").await.unwrap();
        });
    });
}

/// What small requests take, without a socket.
fn requests(c: &mut Criterion) {
    let runtime = runtime();
    let directory = runtime.block_on(filled());
    let engine = Arc::new(engine(&directory));
    let api =
        Api::new(Arc::clone(&engine) as Arc<dyn ImageEngine>, imaged::api::Settings::default());
    let mut group = c.benchmark_group("requests");
    group.sample_size(20);
    group.bench_function("engine: exists", |b| {
        b.to_async(&runtime)
            .iter(|| async { black_box(engine.exists(&ImageName::new(IMAGE)).await.unwrap()) });
    });
    group.bench_function("engine: list", |b| {
        b.to_async(&runtime)
            .iter(|| async { engine.list(ListOptions::default()).await.unwrap().len() });
    });
    for route in ["_ping", "images/json", &format!("images/{IMAGE}/json")] {
        group.bench_function(format!("api: {route}"), |b| {
            b.to_async(&runtime).iter(|| async {
                let uri = format!("/v5.0.0/libpod/{route}");
                let request = Request::get(uri).body(Body::empty()).unwrap();
                let answer = api.clone().oneshot(request).await.unwrap();
                assert_eq!(answer.status(), 200);
                axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap().len()
            });
        });
    }
}
