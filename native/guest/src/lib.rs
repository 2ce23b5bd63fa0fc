//! The agent inside every microVM. As PID 1 it boots the root file system, and then serves
//! `spec/guest.proto` on the VM's own channel. docs/internals/guest.md is the design.

// A gRPC status is the error type of every handler; boxing it would buy nothing on these paths.
#![allow(clippy::result_large_err)]

pub mod boot;
pub mod channel;
pub mod console;
pub mod descriptor;
pub mod files;
pub mod machine;
pub mod ports;
pub mod process;
pub mod reaper;
pub mod serve;
pub mod status;
pub mod users;

/// Messages, servers and clients generated from `spec/guest.proto`.
pub mod proto {
    #![allow(clippy::all)]
    tonic::include_proto!("exai.guest.v1");
}
