package dev.baton.router.policy;

import java.util.List;
import java.util.Map;

/// What a policy has done and learned, for reading. Immutable.
///
/// @param mode at present
/// @param config the settings that it was started with
/// @param routes decisions by kind of route: `disaggregated`, `direct`, `aggregated`
/// @param conversations that are known
/// @param indexedBlocks entries of the prefix index
/// @param outputTokens that an answer is expected to have
/// @param stance which kinds of routes the mode adaptive weighs at present
/// @param stanceCosts what a request is expected to cost in each, in the long run
/// @param engines in the order in which they were first seen
public record PolicyReport(
        Mode mode,
        PolicyConfig config,
        Map<String, Long> routes,
        int conversations,
        int indexedBlocks,
        double outputTokens,
        String stance,
        Map<String, Double> stanceCosts,
        List<EngineReport> engines) {}
