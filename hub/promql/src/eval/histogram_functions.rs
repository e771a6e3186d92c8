//! Functions of histograms: native ones by sample, classic ones by the series of their buckets.

use std::collections::HashMap;

use model::{BUCKET_LABEL, Histogram, LabelSet};

use super::row::{Out, Point, Row};
use super::sort::literal;
use super::{Eval, Evaluator, Grid};
use crate::annotations::Annotation;
use crate::ast::{Call, Expr, Span};
use crate::functions::FunctionId;
use crate::histogram::classic::{self, ClassicBucket};
use crate::histogram::quantile::{self, NanEffect};

/// The native histogram of a series, or the buckets of a classic one, at one step.
enum Found<'a> {
    Native(&'a Histogram),
    Classic(Vec<ClassicBucket>),
}

/// The series of one histogram: the same labels but for `le`.
struct Family {
    /// Without `le`.
    labels: LabelSet,
    native: Vec<usize>,
    /// With upper bounds.
    buckets: Vec<(usize, f64)>,
}

impl Evaluator<'_> {
    pub(super) fn histogram_call(&mut self, call: &Call, grid: Grid) -> Eval<Vec<Row>> {
        let args = &call.args;
        match call.function.id {
            FunctionId::HistogramCount => self.map_histograms(&args[0], grid, |h| h.count),
            FunctionId::HistogramSum => self.map_histograms(&args[0], grid, |h| h.sum),
            FunctionId::HistogramAvg => self.map_histograms(&args[0], grid, |h| h.sum / h.count),
            FunctionId::HistogramStdvar => self.map_histograms(&args[0], grid, quantile::variance),
            FunctionId::HistogramStddev => {
                self.map_histograms(&args[0], grid, |h| quantile::variance(h).sqrt())
            }
            FunctionId::HistogramQuantile => {
                let quantiles = self.scalar(&args[0], grid)?;
                self.check_quantiles(&quantiles, args[0].span());
                self.quantiles(&args[1], grid, &[(None, quantiles)])
            }
            FunctionId::HistogramQuantiles => {
                let label = literal(&args[1]).to_owned();
                let mut all = Vec::new();
                for arg in &args[2..] {
                    let quantiles = self.scalar(arg, grid)?;
                    self.check_quantiles(&quantiles, arg.span());
                    all.push((Some(label.clone()), quantiles));
                }
                self.quantiles(&args[0], grid, &all)
            }
            _ => {
                let lower = self.scalar(&args[0], grid)?;
                let upper = self.scalar(&args[1], grid)?;
                self.fractions(&args[2], grid, &lower, &upper)
            }
        }
    }

    /// A number for every histogram; numbers are left out.
    fn map_histograms(
        &mut self,
        arg: &Expr,
        grid: Grid,
        number: impl Fn(&Histogram) -> f64,
    ) -> Eval<Vec<Row>> {
        let rows = self.vector(arg, grid)?;
        let mut result = Vec::new();
        for row in rows {
            let mut numbers = Row::empty(row.labels.clone(), grid.len);
            for step in 0..grid.len {
                if let Some(Point::Histogram(histogram)) = row.point(step) {
                    numbers.set(step, Out::Float(number(histogram)));
                }
            }
            if !numbers.is_empty() {
                self.drop_name(&mut numbers);
                result.push(numbers);
            }
        }
        self.settle(result, grid)
    }

    fn check_quantiles(&mut self, quantiles: &[f64], span: Span) {
        for q in quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.annotate(&Annotation::InvalidQuantile(*q), span);
        }
    }

    fn quantiles(
        &mut self,
        arg: &Expr,
        grid: Grid,
        wanted: &[(Option<String>, Vec<f64>)],
    ) -> Eval<Vec<Row>> {
        let rows = self.vector(arg, grid)?;
        let families = self.families(&rows, arg.span());
        let mut result = Vec::new();
        for family in &families {
            self.cancel.check()?;
            // One row per value of the quantile label.
            let mut by_label: Vec<(String, Row)> = Vec::new();
            for step in 0..grid.len {
                let Some(mut found) = self.histogram_at(family, &rows, step, arg.span()) else {
                    continue;
                };
                for (label, quantiles) in wanted {
                    let q = quantiles[step];
                    let value =
                        self.quantile_of(q, &mut found, family, arg.span(), grid.time(step));
                    let text = match label {
                        Some(_) => crate::text::format_open_metrics(q),
                        None => String::new(),
                    };
                    let at = by_label.iter().position(|(known, _)| *known == text);
                    let at = at.unwrap_or_else(|| {
                        let labels = match label {
                            Some(label) => {
                                let mut labels = family.labels.builder();
                                labels.set(label.as_str(), text.as_str());
                                labels.build()
                            }
                            None => family.labels.clone(),
                        };
                        by_label.push((text, Row::empty(labels, grid.len)));
                        by_label.len() - 1
                    });
                    by_label[at].1.set(step, Out::Float(value));
                }
            }
            for (_, mut row) in by_label {
                self.drop_name(&mut row);
                result.push(row);
            }
        }
        self.release(&rows);
        self.hold(&result)?;
        self.settle(result, grid)
    }

    fn quantile_of(
        &mut self,
        q: f64,
        found: &mut Found<'_>,
        family: &Family,
        span: Span,
        at_ms: i64,
    ) -> f64 {
        // The name is known as long as it was not dropped.
        let metric = family.labels.name().unwrap_or_default();
        match found {
            Found::Native(histogram) => {
                let metric = if self.options.delayed_name_removal {
                    metric
                } else {
                    ""
                };
                let (value, effect) = quantile::quantile(q, histogram);
                match effect {
                    NanEffect::None => {}
                    NanEffect::Result => {
                        self.annotate(&Annotation::QuantileNanResult { metric }, span);
                    }
                    NanEffect::Skew => {
                        self.annotate(&Annotation::QuantileNanSkew { metric }, span);
                    }
                }
                value
            }
            Found::Classic(buckets) => {
                let (value, forced) = classic::quantile(q, buckets);
                if let Some(forced) = forced {
                    let metric = if self.options.delayed_name_removal {
                        metric
                    } else {
                        ""
                    };
                    let annotation = Annotation::ForcedMonotonicity {
                        metric,
                        at_ms,
                        lowest: forced.lowest,
                        highest: forced.highest,
                        greatest: forced.greatest,
                    };
                    self.annotate(&annotation, span);
                }
                value
            }
        }
    }

    fn fractions(
        &mut self,
        arg: &Expr,
        grid: Grid,
        lower: &[f64],
        upper: &[f64],
    ) -> Eval<Vec<Row>> {
        let rows = self.vector(arg, grid)?;
        let families = self.families(&rows, arg.span());
        let mut result = Vec::new();
        for family in &families {
            self.cancel.check()?;
            let mut row = Row::empty(family.labels.clone(), grid.len);
            for step in 0..grid.len {
                let (lower, upper) = (lower[step], upper[step]);
                let value = match self.histogram_at(family, &rows, step, arg.span()) {
                    None => continue,
                    Some(Found::Classic(mut buckets)) => {
                        classic::fraction(lower, upper, &mut buckets)
                    }
                    Some(Found::Native(histogram)) => {
                        let (value, effect) = quantile::fraction(lower, upper, histogram);
                        if effect != NanEffect::None {
                            let delayed = self.options.delayed_name_removal;
                            let metric = family.labels.name().filter(|_| delayed);
                            let metric = metric.unwrap_or_default();
                            self.annotate(&Annotation::FractionNan { metric }, arg.span());
                        }
                        value
                    }
                };
                row.set(step, Out::Float(value));
            }
            if !row.is_empty() {
                self.drop_name(&mut row);
                result.push(row);
            }
        }
        self.release(&rows);
        self.hold(&result)?;
        self.settle(result, grid)
    }

    /// The rows by histogram, in the order of their first row. Rows that are neither native histograms nor buckets are
    /// left out, and said so.
    fn families(&mut self, rows: &[Row], span: Span) -> Vec<Family> {
        let mut numbers: HashMap<LabelSet, usize> = HashMap::new();
        let mut families: Vec<Family> = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let has_floats = row
                .floats
                .iter()
                .any(|value| !super::row::is_absent(*value));
            if row.histograms.is_some() {
                family(&mut numbers, &mut families, row.labels.clone())
                    .native
                    .push(at);
            }
            if !has_floats {
                continue;
            }
            let label = row.labels.get(BUCKET_LABEL).unwrap_or_default();
            match parse_bound(label) {
                Some(bound) => {
                    let labels = row.labels.retain(|name| name != BUCKET_LABEL);
                    let family = family(&mut numbers, &mut families, labels);
                    family.buckets.push((at, bound));
                }
                None => {
                    let delayed = self.options.delayed_name_removal;
                    let metric = row.labels.name().filter(|_| delayed).unwrap_or_default();
                    self.annotate(&Annotation::BadBucketLabel { metric, label }, span);
                }
            }
        }
        families
    }

    /// What a family has at a step; nothing, and said so, if it has both kinds.
    fn histogram_at<'r>(
        &mut self,
        family: &Family,
        rows: &'r [Row],
        step: usize,
        span: Span,
    ) -> Option<Found<'r>> {
        let native = family
            .native
            .iter()
            .find_map(|at| match rows[*at].point(step) {
                Some(Point::Histogram(histogram)) => Some(&**histogram),
                _ => None,
            });
        let buckets: Vec<ClassicBucket> = family
            .buckets
            .iter()
            .filter_map(|(at, upper)| match rows[*at].point(step) {
                Some(Point::Float(count)) => Some(ClassicBucket {
                    upper: *upper,
                    count,
                }),
                _ => None,
            })
            .collect();
        match native {
            Some(_) if !buckets.is_empty() => {
                let delayed = self.options.delayed_name_removal;
                let metric = family.labels.name().filter(|_| delayed).unwrap_or_default();
                self.annotate(&Annotation::MixedClassicNative { metric }, span);
                None
            }
            Some(histogram) => Some(Found::Native(histogram)),
            None if buckets.is_empty() => None,
            None => Some(Found::Classic(buckets)),
        }
    }
}

/// The family of these labels, a new one if there is none.
fn family<'f>(
    numbers: &mut HashMap<LabelSet, usize>,
    families: &'f mut Vec<Family>,
    labels: LabelSet,
) -> &'f mut Family {
    let place = *numbers.entry(labels).or_insert_with_key(|labels| {
        families.push(Family {
            labels: labels.clone(),
            native: Vec::new(),
            buckets: Vec::new(),
        });
        families.len() - 1
    });
    &mut families[place]
}

/// The value of a bucket's `le`, as Go reads floats.
fn parse_bound(text: &str) -> Option<f64> {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    let known = bare.eq_ignore_ascii_case("inf")
        || bare.eq_ignore_ascii_case("infinity")
        || bare.eq_ignore_ascii_case("nan");
    if !known
        && bare
            .bytes()
            .any(|b| !(b.is_ascii_digit() || b".eE+-".contains(&b)))
    {
        return None;
    }
    text.parse().ok()
}
