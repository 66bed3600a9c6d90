//! Runs the cases, and counts them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fmt};

use super::place::{Place, Programs, User};

/// One thing to show.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// As whom it runs, if root runs the tests.
    pub(crate) users: Users,
    /// Whether it is skipped where there are no namespaces.
    pub(crate) namespaces: bool,
    pub(crate) run: fn(&Place<'_>) -> Outcome,
}

/// As whom a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Users {
    /// Whoever runs the tests.
    Anybody,
    /// Root, and an ordinary user too.
    Each,
    /// Only an ordinary user.
    Ordinary,
}

/// Failures are panics.
pub(crate) type Outcome = Result<(), Skipped>;

/// Why a case cannot run on this machine.
#[derive(Debug)]
pub(crate) struct Skipped(pub(crate) String);

pub(crate) const fn case(name: &'static str, users: Users, run: fn(&Place<'_>) -> Outcome) -> Case {
    Case { name, users, namespaces: false, run }
}

pub(crate) const fn in_namespaces(name: &'static str, users: Users, run: fn(&Place<'_>) -> Outcome) -> Case {
    Case { name, users, namespaces: true, run }
}

#[derive(Default)]
struct Count {
    ran: u32,
    failed: u32,
    skipped: BTreeMap<String, u32>,
}

impl Count {
    fn add(&mut self, end: &End) {
        match end {
            End::Passed => self.ran += 1,
            End::Failed => (self.ran, self.failed) = (self.ran + 1, self.failed + 1),
            End::Skipped(why) => *self.skipped.entry(why.clone()).or_default() += 1,
        }
    }

    fn skipped(&self) -> u32 {
        self.skipped.values().sum()
    }
}

enum End {
    Passed,
    Failed,
    Skipped(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => write!(f, "ok"),
            Self::Failed => write!(f, "FAILED"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}

/// Runs those whose name contains `filter`.
pub(crate) fn run_all(cases: &[Case], filter: Option<&str>) -> ExitCode {
    let programs = Programs::gather();
    let users = User::all();
    let refusals: Vec<Option<String>> = users.iter().map(|user| programs.why_no_namespaces(*user)).collect();
    let (mut all, mut privileged) = (Count::default(), Count::default());
    for case in cases.iter().filter(|case| filter.is_none_or(|word| case.name.contains(word))) {
        for (user, refusal) in users.iter().zip(&refusals).filter(|(user, _)| is_for(case, **user)) {
            let since = Instant::now();
            let end = match refusal {
                Some(why) if case.namespaces => End::Skipped(why.clone()),
                _ => run(case, &programs, *user),
            };
            println!("case {} ({user}) ... {end} ({:.1} s)", case.name, since.elapsed().as_secs_f64());
            all.add(&end);
            if case.namespaces {
                privileged.add(&end);
            }
        }
    }
    let why: Vec<_> = privileged.skipped.iter().map(|(why, count)| format!("{why}: {count}")).collect();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
    println!("end-to-end: {} ran, {} skipped{why}", privileged.ran, privileged.skipped());
    println!("cases: {} passed, {} failed, {} skipped", all.ran - all.failed, all.failed, all.skipped());
    let required = env::var("NATRIG_REQUIRE_NAMESPACES").is_ok_and(|value| value == "1");
    let too_few = required && filter.is_none() && privileged.ran == 0;
    if too_few {
        println!("no case ran in namespaces, and NATRIG_REQUIRE_NAMESPACES=1 wants some");
    }
    if all.failed > 0 || too_few { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn is_for(case: &Case, user: User) -> bool {
    match case.users {
        Users::Anybody => !user.is_second(),
        Users::Each => true,
        Users::Ordinary => !user.is_root(),
    }
}

fn run(case: &Case, programs: &Programs, user: User) -> End {
    let place = Place::new(programs, user);
    match catch_unwind(AssertUnwindSafe(|| (case.run)(&place))) {
        Ok(Ok(())) => End::Passed,
        Ok(Err(Skipped(why))) => End::Skipped(why),
        Err(_) => End::Failed,
    }
}
