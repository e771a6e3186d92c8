//! What the functions over ranges make of one window.

mod changes;
mod extended_rate;
pub(super) mod kernels;
mod over_time;
mod rate;
mod regression;

use super::range::Window;
use super::row::Out;
use super::{Eval, Evaluator};
use crate::ast::{Call, Span};
use crate::functions::FunctionId;

/// The arguments of a call besides the range.
pub(super) struct Args<'a> {
    /// Place in the call and values per step.
    pub(super) scalars: &'a [(usize, Vec<f64>)],
    pub(super) step: usize,
    pub(super) call: &'a Call,
}

impl Args<'_> {
    /// The scalar argument with that place among the scalars, at this step.
    fn scalar(&self, at: usize) -> f64 {
        let values = self.scalars.get(at).map(|(_, values)| values);
        values
            .and_then(|v| v.get(self.step))
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// The span of the argument at that place.
    fn span(&self, at: usize) -> Span {
        self.call
            .args
            .get(at)
            .map_or(self.call.span, |arg| arg.span())
    }

    /// The span of all arguments together.
    fn whole_span(&self) -> Span {
        self.span(0)
    }
}

/// The value at one step, if there is one. A window has at least one sample.
pub(super) type RangeFunction = fn(&mut Evaluator<'_>, &Window<'_>, &Args<'_>) -> Eval<Option<Out>>;

pub(super) fn range_function(id: FunctionId) -> Option<RangeFunction> {
    Some(match id {
        FunctionId::Rate => rate::rate,
        FunctionId::Increase => rate::increase,
        FunctionId::Delta => rate::delta,
        FunctionId::Irate => rate::irate,
        FunctionId::Idelta => rate::idelta,
        FunctionId::Resets => changes::resets,
        FunctionId::Changes => changes::changes,
        FunctionId::Deriv => regression::deriv,
        FunctionId::PredictLinear => regression::predict_linear,
        FunctionId::DoubleExponentialSmoothing => regression::double_exponential_smoothing,
        FunctionId::SumOverTime => over_time::sum,
        FunctionId::AvgOverTime => over_time::avg,
        FunctionId::CountOverTime => over_time::count,
        FunctionId::MinOverTime => over_time::min,
        FunctionId::MaxOverTime => over_time::max,
        FunctionId::TsOfMinOverTime => over_time::ts_of_min,
        FunctionId::TsOfMaxOverTime => over_time::ts_of_max,
        FunctionId::FirstOverTime => over_time::first,
        FunctionId::LastOverTime => over_time::last,
        FunctionId::TsOfFirstOverTime => over_time::ts_of_first,
        FunctionId::TsOfLastOverTime => over_time::ts_of_last,
        FunctionId::PresentOverTime | FunctionId::AbsentOverTime => over_time::present,
        FunctionId::StddevOverTime => over_time::stddev,
        FunctionId::StdvarOverTime => over_time::stdvar,
        FunctionId::QuantileOverTime => over_time::quantile,
        FunctionId::MadOverTime => over_time::mad,
        _ => return None,
    })
}

fn float(value: f64) -> Eval<Option<Out>> {
    Ok(Some(Out::Float(value)))
}
