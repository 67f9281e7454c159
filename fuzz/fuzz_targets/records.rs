#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| imaged_fuzz::records(input));
