//! curl: a client with TLS and HTTP/2 that is not ours.

use std::process::Command;

/// What curl got.
#[derive(Debug)]
pub struct Curl {
    pub status: u16,
    /// "1.1" or "2".
    pub version: String,
    /// Interim and final heads as curl prints them.
    pub heads: String,
    pub body: String,
}

/// Runs curl and returns what it got, or its complaint.
pub fn curl(arguments: &[&str]) -> Result<Curl, String> {
    let heads = tempfile::NamedTempFile::new().expect("a temporary file");
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--noproxy", "*"])
        .arg("--dump-header")
        .arg(heads.path())
        .args(["--write-out", "\n%{http_code} %{http_version}"])
        .args(arguments)
        .output()
        .expect("curl is installed");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, facts) = said.rsplit_once('\n').expect("curl writes the facts last");
    let (status, version) = facts.split_once(' ').expect("two facts");
    Ok(Curl {
        status: status.parse().expect("a status is a number"),
        version: version.to_owned(),
        heads: std::fs::read_to_string(heads.path()).expect("curl writes the heads"),
        body: body.to_owned(),
    })
}
