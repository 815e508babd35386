//! `/metrics` in the text format of Prometheus: what the process counts
//! anyway, without a second set of books.

use std::fmt::Write as _;

use actix_web::{HttpResponse, web};
use hoiam_text::SaturatingFrom as _;

use super::system::System;
use crate::db::{Db, Ends};

/// The numbers of this moment.
pub async fn metrics(system: web::Data<System>) -> HttpResponse {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, i64)>| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let by_service = |value: &dyn Fn(&Db) -> i64| {
        let lines = system
            .dbs
            .iter()
            .map(|db| (format!("{{service=\"{}\"}}", db.service()), value(db)));
        lines.collect::<Vec<_>>()
    };
    family(
        "hoiam_open",
        "gauge",
        "Tasks or speeches that have not ended.",
        by_service(&|db| db.load().jobs()),
    );
    family(
        "hoiam_open_bytes",
        "gauge",
        "Bytes of their texts.",
        by_service(&|db| db.load().bytes()),
    );
    family(
        "hoiam_writes_waiting",
        "gauge",
        "Commits that wait for the database's writer.",
        by_service(&|db| i64::saturating_from(db.waiting())),
    );
    let mut ages = Vec::new();
    for due in &system.due {
        let (service, now) = (due.service(), due.db.clock().now());
        // What cannot be read just now is left out, as Prometheus would have it.
        for (kind, one) in due.kinds().await.unwrap_or_default() {
            let labels = format!("{{service=\"{service}\",kind=\"{kind}\"}}");
            ages.push((labels, one.age_s(now)));
        }
    }
    family(
        "hoiam_oldest_due_age_seconds",
        "gauge",
        "For how long the oldest row of each kind of work has been due.",
        ages,
    );
    let ends = |names: &[&str]| {
        let of = |db: &Db| {
            let line = |name: &&str| {
                (
                    format!("{{service=\"{}\",status=\"{name}\"}}", db.service()),
                    i64::saturating_from(db.ends().count(name)),
                )
            };
            names.iter().map(line).collect::<Vec<_>>()
        };
        system.dbs.iter().flat_map(of).collect::<Vec<_>>()
    };
    family(
        "hoiam_ended_total",
        "counter",
        "Tasks or speeches that have ended since the process started.",
        ends(&Ends::OF_SUBJECTS),
    );
    family(
        "hoiam_deliveries_ended_total",
        "counter",
        "Deliveries that were made or given up since the process started.",
        ends(&Ends::OF_DELIVERIES),
    );
    if let Some(cache) = &system.cache {
        let whole = |number: u64| i64::saturating_from(number);
        let by_outcome = |(hits, misses)| {
            [("hit", hits), ("miss", misses)]
                .map(|(outcome, count)| (format!("{{outcome=\"{outcome}\"}}"), whole(count)))
                .to_vec()
        };
        family(
            "hoiam_cache_total",
            "counter",
            "Speeches that were made before, and that had to be made and kept.",
            by_outcome(cache.speeches.counts()),
        );
        family(
            "hoiam_cache_sentences_total",
            "counter",
            "Sentences of long texts that were made before, and that had to be made and kept.",
            by_outcome(cache.sentences.counts()),
        );
        family(
            "hoiam_cache_bytes",
            "gauge",
            "Bytes that are kept to be used again.",
            vec![(String::new(), whole(cache.bytes()))],
        );
    }
    let shut = system.shut.iter().map(|(service, shut)| {
        (
            format!("{{service=\"{service}\"}}"),
            i64::saturating_from(shut().len()),
        )
    });
    family(
        "hoiam_shut_receivers",
        "gauge",
        "Receivers that do not answer and are tried with one callback at a time.",
        shut.collect(),
    );
    let actors = system.board.children();
    let restarts = actors.iter().map(|actor| {
        (
            format!("{{actor=\"{}\"}}", actor.name),
            i64::saturating_from(actor.restarts),
        )
    });
    family(
        "hoiam_actor_restarts_total",
        "counter",
        "Restarts after a panic.",
        restarts.collect(),
    );
    let children: Vec<_> = (system.children)().into_iter().collect();
    let requests = children.iter().map(|(actor, stats)| {
        (
            format!("{{actor=\"{actor}\"}}"),
            i64::saturating_from(stats.requests),
        )
    });
    family(
        "hoiam_synthesizer_requests_total",
        "counter",
        "Texts given to a child.",
        requests.collect(),
    );
    let restarts = children.iter().map(|(actor, stats)| {
        (
            format!("{{actor=\"{actor}\"}}"),
            i64::saturating_from(stats.restarts),
        )
    });
    family(
        "hoiam_synthesizer_restarts_total",
        "counter",
        "Children started after the first.",
        restarts.collect(),
    );
    if let Some(crashes) = &system.crashes {
        let counts = crashes.counts().into_iter();
        let lines = counts.map(|((engine, how), count)| {
            (
                format!("{{engine=\"{engine}\",how=\"{how}\"}}"),
                i64::saturating_from(count),
            )
        });
        family(
            "hoiam_engine_crashes_total",
            "counter",
            "Children that an engine has crashed, or that were killed since it took too long.",
            lines.collect(),
        );
    }
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4")
        .body(text)
}
