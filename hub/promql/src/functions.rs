//! The functions of PromQL and their signatures.

use crate::ast::ValueType::{self, Matrix, Scalar, String, Vector};

/// A function's name and signature.
#[derive(Debug)]
pub struct Function {
    /// Which; what evaluation goes by.
    pub id: FunctionId,
    /// As PromQL writes it.
    pub name: &'static str,
    /// Types of the arguments; the last one repeats where `variadic` allows more.
    pub args: &'static [ValueType],
    /// 0: exactly `args`. n > 0: the last of `args` may stand 0 to n times. Below 0: any number of times.
    pub variadic: i32,
    /// Type of the result.
    pub returns: ValueType,
    /// Has to be switched on.
    pub experimental: bool,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// The function of that name (lower case, as written).
pub fn function(name: &str) -> Option<&'static Function> {
    let at = FUNCTIONS.binary_search_by(|function| function.name.cmp(name));
    at.ok().map(|at| &FUNCTIONS[at])
}

const fn plain(
    id: FunctionId,
    name: &'static str,
    args: &'static [ValueType],
    returns: ValueType,
) -> Function {
    Function {
        id,
        name,
        args,
        variadic: 0,
        returns,
        experimental: false,
    }
}

impl Function {
    const fn variadic(mut self, variadic: i32) -> Self {
        self.variadic = variadic;
        self
    }

    const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }
}

macro_rules! functions {
    ($($id:ident $name:literal ($($arg:ident),*) -> $returns:ident $(, $change:ident $(($value:literal))?)*;)*) => {
        /// One per function.
        #[expect(missing_docs, reason = "the names say it")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FunctionId {
            $($id,)*
        }

        /// All functions, in order of their names.
        pub static FUNCTIONS: &[Function] = &[
            $(plain(FunctionId::$id, $name, &[$($arg),*], $returns)$(.$change($($value)?))*,)*
        ];
    };
}

functions! {
    Abs "abs" (Vector) -> Vector;
    Absent "absent" (Vector) -> Vector;
    AbsentOverTime "absent_over_time" (Matrix) -> Vector;
    Acos "acos" (Vector) -> Vector;
    Acosh "acosh" (Vector) -> Vector;
    Asin "asin" (Vector) -> Vector;
    Asinh "asinh" (Vector) -> Vector;
    Atan "atan" (Vector) -> Vector;
    Atanh "atanh" (Vector) -> Vector;
    AvgOverTime "avg_over_time" (Matrix) -> Vector;
    Ceil "ceil" (Vector) -> Vector;
    Changes "changes" (Matrix) -> Vector;
    Clamp "clamp" (Vector, Scalar, Scalar) -> Vector;
    ClampMax "clamp_max" (Vector, Scalar) -> Vector;
    ClampMin "clamp_min" (Vector, Scalar) -> Vector;
    Cos "cos" (Vector) -> Vector;
    Cosh "cosh" (Vector) -> Vector;
    CountOverTime "count_over_time" (Matrix) -> Vector;
    DayOfMonth "day_of_month" (Vector) -> Vector, variadic(1);
    DayOfWeek "day_of_week" (Vector) -> Vector, variadic(1);
    DayOfYear "day_of_year" (Vector) -> Vector, variadic(1);
    DaysInMonth "days_in_month" (Vector) -> Vector, variadic(1);
    Deg "deg" (Vector) -> Vector;
    Delta "delta" (Matrix) -> Vector;
    Deriv "deriv" (Matrix) -> Vector;
    DoubleExponentialSmoothing "double_exponential_smoothing" (Matrix, Scalar, Scalar) -> Vector, experimental;
    End "end" () -> Scalar, experimental;
    Exp "exp" (Vector) -> Vector;
    FirstOverTime "first_over_time" (Matrix) -> Vector;
    Floor "floor" (Vector) -> Vector;
    HistogramAvg "histogram_avg" (Vector) -> Vector;
    HistogramCount "histogram_count" (Vector) -> Vector;
    HistogramFraction "histogram_fraction" (Scalar, Scalar, Vector) -> Vector;
    HistogramQuantile "histogram_quantile" (Scalar, Vector) -> Vector;
    HistogramQuantiles "histogram_quantiles" (Vector, String, Scalar, Scalar) -> Vector, variadic(9), experimental;
    HistogramStddev "histogram_stddev" (Vector) -> Vector;
    HistogramStdvar "histogram_stdvar" (Vector) -> Vector;
    HistogramSum "histogram_sum" (Vector) -> Vector;
    Hour "hour" (Vector) -> Vector, variadic(1);
    Idelta "idelta" (Matrix) -> Vector;
    Increase "increase" (Matrix) -> Vector;
    Info "info" (Vector, Vector) -> Vector, variadic(1), experimental;
    Irate "irate" (Matrix) -> Vector;
    LabelJoin "label_join" (Vector, String, String, String) -> Vector, variadic(-1);
    LabelReplace "label_replace" (Vector, String, String, String, String) -> Vector;
    LastOverTime "last_over_time" (Matrix) -> Vector;
    Ln "ln" (Vector) -> Vector;
    Log10 "log10" (Vector) -> Vector;
    Log2 "log2" (Vector) -> Vector;
    MadOverTime "mad_over_time" (Matrix) -> Vector, experimental;
    MaxOf "max_of" (Scalar, Scalar) -> Scalar, experimental;
    MaxOverTime "max_over_time" (Matrix) -> Vector;
    MinOf "min_of" (Scalar, Scalar) -> Scalar, experimental;
    MinOverTime "min_over_time" (Matrix) -> Vector;
    Minute "minute" (Vector) -> Vector, variadic(1);
    Month "month" (Vector) -> Vector, variadic(1);
    Pi "pi" () -> Scalar;
    PredictLinear "predict_linear" (Matrix, Scalar) -> Vector;
    PresentOverTime "present_over_time" (Matrix) -> Vector;
    QuantileOverTime "quantile_over_time" (Scalar, Matrix) -> Vector;
    Rad "rad" (Vector) -> Vector;
    Range "range" () -> Scalar, experimental;
    Rate "rate" (Matrix) -> Vector;
    Resets "resets" (Matrix) -> Vector;
    Round "round" (Vector, Scalar) -> Vector, variadic(1);
    Scalar "scalar" (Vector) -> Scalar;
    Sgn "sgn" (Vector) -> Vector;
    Sin "sin" (Vector) -> Vector;
    Sinh "sinh" (Vector) -> Vector;
    Sort "sort" (Vector) -> Vector;
    SortByLabel "sort_by_label" (Vector, String) -> Vector, variadic(-1), experimental;
    SortByLabelDesc "sort_by_label_desc" (Vector, String) -> Vector, variadic(-1), experimental;
    SortDesc "sort_desc" (Vector) -> Vector;
    Sqrt "sqrt" (Vector) -> Vector;
    Start "start" () -> Scalar, experimental;
    StartTimestamp "start_timestamp" (Vector) -> Vector, experimental;
    StddevOverTime "stddev_over_time" (Matrix) -> Vector;
    StdvarOverTime "stdvar_over_time" (Matrix) -> Vector;
    Step "step" () -> Scalar, experimental;
    SumOverTime "sum_over_time" (Matrix) -> Vector;
    Tan "tan" (Vector) -> Vector;
    Tanh "tanh" (Vector) -> Vector;
    Time "time" () -> Scalar;
    Timestamp "timestamp" (Vector) -> Vector;
    TsOfFirstOverTime "ts_of_first_over_time" (Matrix) -> Vector, experimental;
    TsOfLastOverTime "ts_of_last_over_time" (Matrix) -> Vector, experimental;
    TsOfMaxOverTime "ts_of_max_over_time" (Matrix) -> Vector, experimental;
    TsOfMinOverTime "ts_of_min_over_time" (Matrix) -> Vector, experimental;
    Vector "vector" (Scalar) -> Vector;
    Year "year" (Vector) -> Vector, variadic(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_order_so_that_names_are_found() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        for one in FUNCTIONS {
            assert_eq!(function(one.name), Some(one));
        }
        assert_eq!(function("RATE"), None);
    }
}
