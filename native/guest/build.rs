//! Generates the messages, server and client of spec/guest.proto.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    const SPEC: &str = "../../spec";
    println!("cargo:rerun-if-changed={SPEC}/guest.proto");
    let descriptors = protox::compile(["guest.proto"], [SPEC])?;
    tonic_prost_build::configure().build_transport(false).bytes(".").compile_fds(descriptors)?;
    Ok(())
}
