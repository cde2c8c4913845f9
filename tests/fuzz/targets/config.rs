//! A configuration file: rejected with a place and a fix for each mistake, or printed as a file that says the same.

use std::path::Path;

use ws_router_server::config::parse;

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse(&text, Path::new(FILE)) {
        Ok(config) => {
            let printed = config.to_toml();
            let again = parse(&printed, Path::new("/elsewhere/other.toml"));
            assert_eq!(again.as_ref(), Ok(&config), "{printed}");
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            // The last of very many says that there are more.
            for problem in problems.0.iter().filter(|problem| !problem.starts_with("only the first ")) {
                let mut parts =
                    problem.strip_prefix(FILE).unwrap_or_else(|| panic!("{problem}")).splitn(4, ':').skip(1);
                let mut number = || parts.next().and_then(|number| number.parse::<usize>().ok());
                let (line, column) = (number().unwrap(), number().unwrap());
                let lines: Vec<&str> = text.split('\n').collect();
                assert!((1..=lines.len()).contains(&line), "{problem}");
                assert!((1..=lines[line - 1].chars().count() + 1).contains(&column), "{problem}");
                assert!(parts.next().is_some_and(|text| text.len() > 5), "{problem}");
            }
        }
    }
}

const FILE: &str = "/etc/some/where.toml";
