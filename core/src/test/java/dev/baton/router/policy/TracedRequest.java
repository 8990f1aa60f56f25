package dev.baton.router.policy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// A request of a recorded trace, in the form in which Mooncake published its own (FAST '25): a JSON object a
/// line with `timestamp` in milliseconds, `input_length`, `output_length`, and `hash_ids`, one for each 512
/// tokens of the prompt; equal ids are equal prefixes.
///
/// @param number its place in the trace
/// @param atMillis since the trace began
/// @param earlier the turn before in the same conversation: the last request but whose last block, which it did not
///     fill, this one's blocks begin with; -1 if there is none
record TracedRequest(int number, double atMillis, int inputTokens, int outputTokens, List<Long> blocks, int earlier) {
    static final int BLOCK_TOKENS = 512;

    /// The first requests of a file, in its order.
    static List<TracedRequest> read(Path file, int most) throws IOException {
        JsonMapper json = new JsonMapper();
        try (Stream<String> lines = Files.lines(file)) {
            return linked(lines.limit(most).map(line -> of(json.readTree(line))).toList());
        }
    }

    private static TracedRequest of(JsonNode line) {
        List<Long> blocks = new ArrayList<>();
        line.required("hash_ids").forEach(id -> blocks.add(id.asLong()));
        return of(
                line.required("timestamp").asDouble(),
                line.required("input_length").asInt(),
                line.required("output_length").asInt(),
                blocks);
    }

    /// One whose place is not known yet.
    static TracedRequest of(double atMillis, int inputTokens, int outputTokens, List<Long> blocks) {
        return new TracedRequest(-1, atMillis, inputTokens, Math.max(1, outputTokens), List.copyOf(blocks), -1);
    }

    /// Numbers requests that are in the order of their times, and finds the earlier turn of each.
    static List<TracedRequest> linked(List<TracedRequest> requests) {
        List<TracedRequest> linked = new ArrayList<>();
        Map<Long, TracedRequest> byLastFullBlock = new HashMap<>();
        for (TracedRequest request : requests) {
            int earlier = -1;
            for (int i = request.blocks.size() - 2; i > 0 && earlier < 0; i--) { // what all begin with is block 0
                TracedRequest found = byLastFullBlock.get(request.blocks.get(i));
                if (found != null && found.inputTokens < request.inputTokens) {
                    earlier = found.number;
                }
            }
            TracedRequest next = new TracedRequest(
                    linked.size(),
                    request.atMillis,
                    request.inputTokens,
                    request.outputTokens,
                    request.blocks,
                    earlier);
            linked.add(next);
            if (next.blocks.size() > 2) {
                byLastFullBlock.put(next.blocks.get(next.blocks.size() - 2), next);
            }
        }
        return linked;
    }

    /// Tokens of one of its blocks; the last one may be smaller.
    int blockTokens(int block) {
        return Math.clamp(inputTokens - (long) block * BLOCK_TOKENS, 1, BLOCK_TOKENS);
    }
}
