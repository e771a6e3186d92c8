//! Functions of dates: of the samples' values, or of the time of evaluation.

use model::LabelSet;

use super::row::Row;
use super::{Eval, Evaluator, Grid};
use crate::ast::Call;
use crate::functions::FunctionId;
use crate::time::{Civil, days_in_month};

pub(super) fn date_function(id: FunctionId) -> Option<fn(Civil) -> f64> {
    Some(match id {
        FunctionId::Year => |date| date.year as f64,
        FunctionId::Month => |date| f64::from(date.month),
        FunctionId::DayOfMonth => |date| f64::from(date.day),
        FunctionId::DayOfYear => |date| f64::from(date.day_of_year),
        FunctionId::DayOfWeek => |date| f64::from(date.weekday),
        FunctionId::DaysInMonth => |date| f64::from(days_in_month(date.year, date.month)),
        FunctionId::Hour => |date| f64::from(date.hour),
        FunctionId::Minute => |date| f64::from(date.minute),
        _ => return None,
    })
}

impl Evaluator<'_> {
    pub(super) fn date_call(
        &mut self,
        call: &Call,
        grid: Grid,
        of_date: fn(Civil) -> f64,
    ) -> Eval<Vec<Row>> {
        let Some(arg) = call.args.first() else {
            let values =
                (0..grid.len).map(|step| of_date(Civil::from_unix(grid.time(step) / 1000)));
            return Ok(vec![Row::of_floats(LabelSet::empty(), values.collect())]);
        };
        let rows = self.vector(arg, grid)?;
        self.map_floats(rows, grid, |_, value| {
            Some(of_date(Civil::from_unix(whole_seconds(value))))
        })
    }
}

/// What is no 64-bit integer becomes the least one, as in Go on common processors.
fn whole_seconds(value: f64) -> i64 {
    const LIMIT: f64 = i64::MAX as f64;
    if (-LIMIT..LIMIT).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}
