//! What became of the resources in the directory.

use std::collections::BTreeMap;

use vrouter_control::model::{self, KindCount, Notice, Severity};

use crate::agent::Agent;
use vrouter_core::observed::Endpoint;

pub(super) fn show(agent: &Agent) -> model::ResourceReport {
    let mut kinds: BTreeMap<&'static str, u64> = BTreeMap::new();
    for resource in agent.state.resources.iter() {
        *kinds.entry(resource.kind().name()).or_default() += 1;
    }
    let count = |(kind, count): (&str, u64)| KindCount {
        kind: kind.to_owned(),
        count,
    };
    model::ResourceReport {
        directory: agent.store.name(),
        synced: agent.state.in_sync,
        away: agent.state.away.as_ref().map(|away| away.reason.clone()),
        changed: agent.changed.map(Into::into),
        generation: agent.generation().into(),
        kinds: kinds.into_iter().map(count).collect(),
        notices: notices(agent),
    }
}

pub(super) fn notices(agent: &Agent) -> Vec<Notice> {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let with_value = |reason: &str, value: &str| {
        if value.is_empty() {
            reason.to_owned()
        } else {
            format!("{value}: {reason}")
        }
    };
    let errors = agent.state.faults.values().flatten().map(|error| Notice {
        severity: Severity::Error,
        file: text(&error.file),
        line: (error.line > 0).then_some(error.line.into()),
        resource: text(&error.resource),
        field: text(&error.field),
        message: with_value(&error.reason, &error.value),
    });
    let away = agent.state.away.iter().map(|away| Notice {
        severity: Severity::Error,
        file: text(&away.store),
        line: None,
        resource: None,
        field: None,
        message: away.reason.clone(),
    });
    let problems = agent.problems.iter().map(|problem| Notice {
        severity: Severity::Warning,
        file: None,
        line: None,
        resource: None,
        field: None,
        message: problem.clone(),
    });
    // An endpoint without a namespace is among the problems.
    let attachable = |e: &&Endpoint| e.local.netns.is_some();
    let detached = agent.observed.endpoints.iter().filter(attachable);
    let failed = detached.filter_map(|endpoint| {
        Some(Notice {
            severity: Severity::Warning,
            file: None,
            line: None,
            resource: Some(endpoint.local.key.to_string()),
            field: None,
            message: format!("not attached: {}", endpoint.problem.as_ref()?),
        })
    });
    let notices = agent.state.notices.values().flatten().map(|notice| Notice {
        severity: Severity::Info,
        file: text(&notice.file),
        line: (notice.line > 0).then_some(notice.line.into()),
        resource: text(&notice.resource),
        field: text(&notice.field),
        message: with_value(&notice.text, &notice.value),
    });
    away.chain(errors)
        .chain(problems)
        .chain(failed)
        .chain(notices)
        .collect()
}
