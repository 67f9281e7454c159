//! Routes of Docker's API, which stand beside `/libpod`, one file each.

#![allow(unused_qualifications, reason = "utoipa's macros name parameters by path")]

pub(crate) mod auth;
