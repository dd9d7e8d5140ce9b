//! nginx as rows 16 and 18 have it: one process, which begins as a contender does.

use std::fs;
use std::path::Path;

use crate::Result;

/// Arguments for an nginx that does what `http` says, with these settings besides, and its files in a directory of its
/// own, which is made.
pub fn arguments(place: &Path, settings: &str, http: &str) -> Result<Vec<String>> {
    let failed = |error: std::io::Error| format!("{}: {error}", place.display());
    fs::create_dir_all(place).map_err(failed)?;
    let name = place.display();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = paths.map(|path| format!("{path}_temp_path {name}/{path};\n")).concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {name}/pid;\n{settings}\nhttp {{\n{paths}sendfile on;\n{http}\n}}\n"
    );
    let path = place.join("conf");
    fs::write(&path, text).map_err(failed)?;
    let words = ["-e", "stderr", "-p", &name.to_string(), "-c", &path.display().to_string()];
    Ok(words.map(str::to_owned).to_vec())
}
