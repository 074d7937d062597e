//! A picture of who ran when: a trace as SVG.

use std::fmt::Write;

use crate::machine::Span;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 26.0;
const LEFT: f64 = 110.0;
const TOP: f64 = 30.0;

/// Draws `spans` between `from` and `to` (ns): a row for each CPU, one for each task, a colour for each task. `names` are those
/// of the tasks, by number.
pub fn svg(spans: &[Span], names: &[String], cpus: usize, from: u64, to: u64) -> String {
    let rows = cpus + names.len();
    let height = TOP + ROW * rows as f64 + 30.0;
    let total = LEFT + WIDTH + 20.0;
    let x = |at: u64| {
        let at = at.clamp(from, to) - from;
        LEFT + WIDTH * at as f64 / (to - from).max(1) as f64
    };
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    );
    for row in 0..rows {
        let y = TOP + ROW * row as f64;
        let (label, fill) = match row.checked_sub(cpus) {
            None => (format!("CPU {row}"), "#f4f4f4"),
            Some(task) => (escape(&names[task]), "#fbfbfb"),
        };
        let _ = writeln!(
            out,
            "<rect x=\"{LEFT}\" y=\"{}\" width=\"{WIDTH}\" height=\"{}\" fill=\"{fill}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>",
            y + 2.0,
            ROW - 4.0,
            LEFT - 8.0,
            y + 17.0
        );
    }
    for tick in 0..=10 {
        let at = from + (to - from) * tick / 10;
        let _ = writeln!(
            out,
            "<line x1=\"{0:.2}\" x2=\"{0:.2}\" y1=\"{TOP}\" y2=\"{1}\" stroke=\"#ddd\"/>\
             <text x=\"{0:.2}\" y=\"20\" text-anchor=\"middle\">{2:.1} ms</text>",
            x(at),
            height - 25.0,
            at as f64 / 1e6
        );
    }
    for span in spans.iter().filter(|s| s.to > from && s.from < to) {
        let (left, right) = (x(span.from), x(span.to));
        let name = names.get(span.task).map_or("?", String::as_str);
        for row in [span.cpu, cpus + span.task] {
            let _ = writeln!(
                out,
                "<rect x=\"{left:.2}\" y=\"{:.1}\" width=\"{:.2}\" height=\"{:.1}\" fill=\"{}\"><title>{} on CPU {}: {} to {} ns</title></rect>",
                TOP + ROW * row as f64 + 3.0,
                (right - left).max(0.2),
                ROW - 6.0,
                colour(span.task),
                escape(name),
                span.cpu,
                span.from,
                span.to
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Colours that neighbours do not share: steps of the golden angle around the wheel.
fn colour(task: usize) -> String {
    format!("hsl({},60%,55%)", task * 137 % 360)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_span_is_drawn_for_its_cpu_and_its_task() {
        let span = |task, from, to| Span {
            cpu: 0,
            task,
            from,
            to,
        };
        let spans = [span(0, 0, 10), span(1, 10, 20), span(0, 90, 100)];
        let names = ["a<b".to_string(), "c".to_string()];
        let svg = svg(&spans, &names, 1, 0, 50);
        assert_eq!(svg.matches("<title>").count(), 4);
        assert!(svg.contains("a&lt;b on CPU 0: 0 to 10 ns"));
        assert_eq!(svg.matches("<rect").count(), 1 + 3 + 4);
        assert!(svg.ends_with("</svg>\n"));
    }
}
