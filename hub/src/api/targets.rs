//! `/api/v1/targets`: what the head office's own edge scrapes. Targets of branches are their edges' to tell; the
//! first page shows them by their `up`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::error::ApiError;
use super::json::success_value;
use super::params::Params;
use crate::state::HubState;

pub(crate) async fn targets(
    State(state): State<Arc<HubState>>,
    params: Params,
) -> Result<Response, ApiError> {
    let which = params.get("state").unwrap_or("any").to_owned();
    if !matches!(which.as_str(), "active" | "dropped" | "any") {
        return Err(ApiError::bad_parameter("state", "active, dropped or any"));
    }
    let pool = params.get("scrapePool").map(str::to_owned);
    let counts = (which != "active").then(|| serde_json::json!({}));
    let value = daemon::blocking(move || match &state.edge {
        Some(edge) => edge.targets(&which, pool.as_deref()),
        None => serde_json::json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": counts}),
    })
    .await;
    Ok(success_value(&value))
}
