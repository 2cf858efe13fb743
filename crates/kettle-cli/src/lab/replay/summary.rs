//! What is in a recording: its methods, with their shares and sizes.

use super::{kind_name, mean};
use crate::recording::{Flow, RecordedCall};
use crate::table::{Table, grouped, kib, latency, number};
use serde::Serialize;
use std::collections::BTreeMap;

/// Methods that are told of one by one.
const METHODS_MAX: usize = 12;

/// The methods of a recording, the most called first.
#[derive(Debug, Serialize)]
pub struct Summary {
    methods: Vec<Method>,
}

/// The calls of a method.
#[derive(Debug, Serialize)]
struct Method {
    method: String,
    kind: &'static str,
    calls: usize,
    /// Of all calls.
    share: f64,
    request: Size,
    reply: Size,
    /// What half of the handlers took at most.
    handler_p50_us: f64,
}

/// What goes one way with a call: medians, and the most.
#[derive(Debug, Serialize)]
struct Size {
    messages: u64,
    message_bytes: u64,
    message_bytes_max: u64,
}

impl Summary {
    /// Of these calls.
    pub fn of(calls: &[RecordedCall]) -> Self {
        let mut by_method = BTreeMap::<_, Vec<&RecordedCall>>::new();
        for call in calls {
            let key = (&*call.method, kind_name(call.kind));
            by_method.entry(key).or_default().push(call);
        }
        let method = |((method, kind), of): ((&str, &'static str), Vec<&RecordedCall>)| Method {
            method: method.to_owned(),
            kind,
            calls: of.len(),
            share: of.len() as f64 / calls.len() as f64,
            request: Size::of(of.iter().map(|call| call.requests)),
            reply: Size::of(of.iter().map(|call| call.replies)),
            handler_p50_us: median(of.iter().map(|call| call.took.as_micros() as u64)) as f64,
        };
        let mut methods: Vec<_> = by_method.into_iter().map(method).collect();
        methods.sort_by_key(|method| std::cmp::Reverse(method.calls));
        Self { methods }
    }

    /// For people.
    pub fn table(&self) -> Table {
        let mut table = Table::new(&[
            "method",
            "kind",
            "calls",
            "share",
            "request",
            "most",
            "reply",
            "most",
            "handler p50",
        ]);
        for method in self.methods.iter().take(METHODS_MAX) {
            table.row(vec![
                method.method.trim_start_matches('/').to_owned(),
                method.kind.to_owned(),
                grouped(method.calls as u64),
                percent(method.share),
                method.request.median(),
                bytes(method.request.message_bytes_max),
                method.reply.median(),
                bytes(method.reply.message_bytes_max),
                latency(method.handler_p50_us),
            ]);
        }
        if let Some(others @ [_, ..]) = self.methods.get(METHODS_MAX..) {
            let calls: usize = others.iter().map(|method| method.calls).sum();
            let share: f64 = others.iter().map(|method| method.share).sum();
            let (calls, share) = (grouped(calls as u64), percent(share));
            table.remark(
                format!("{} others", others.len()),
                format!("{calls} calls, {share}"),
            );
        }
        table
    }
}

impl Size {
    fn of(flows: impl Iterator<Item = Flow> + Clone) -> Self {
        Self {
            messages: median(flows.clone().map(|flow| flow.messages)),
            message_bytes: median(flows.clone().map(mean)),
            message_bytes_max: flows.map(mean).max().unwrap_or(0),
        }
    }

    fn median(&self) -> String {
        match self.messages {
            1 => bytes(self.message_bytes),
            messages => format!("{} × {}", grouped(messages), bytes(self.message_bytes)),
        }
    }
}

fn percent(share: f64) -> String {
    format!("{} %", number(100.0 * share))
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        _ => kib(bytes as f64),
    }
}

/// The middle value; of two in the middle the smaller.
fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0)
}
