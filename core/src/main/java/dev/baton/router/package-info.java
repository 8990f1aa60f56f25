/// The front of a fleet: takes OpenAI requests, runs each over a prefiller and a decoder, and answers with the
/// decoder's bytes. `kv_transfer_params` are opaque JSON here, so the router runs without a model and drives other
/// engines too.
///
/// Start reading at `Router` (routes), then `RoutedRequest` (one request over its two legs and what happens
/// when one breaks), `Backend` (what each kind of fleet wants written into the two bodies), `RoutingPolicy` and
/// `EnginePool` (which engine).
///
/// May depend on: `openai`, `http`, `discovery`, `wire`, `metrics`.
@NullMarked
package dev.baton.router;

import org.jspecify.annotations.NullMarked;
