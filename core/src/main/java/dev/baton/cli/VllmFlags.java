package dev.baton.cli;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Predicate;

/// vLLM's flags that Baton does not have, so that a command line made for vLLM still works where that is
/// honest: one that changes nothing here is left out with a warning, one that would change what is served is
/// refused with the reason.
///
/// Flags that Baton has under the same name are not here, and flags that neither knows are wrong usage as ever.
final class VllmFlags {
    private static final Map<String, Entry> BY_NAME = new HashMap<>();

    private VllmFlags() {}

    /// What is done with one of these flags.
    sealed interface Verdict {
        /// The words of the command line that it takes up, itself included.
        int numWords();

        /// It may be left out.
        ///
        /// @param warning why
        record LeftOut(int numWords, String warning) implements Verdict {}

        /// It cannot be had.
        ///
        /// @param reason one sentence
        record Refused(int numWords, String reason) implements Verdict {}
    }

    /// How many words after it belong to a flag.
    private enum Takes {
        NOTHING,
        ONE,
        SEVERAL
    }

    /// A flag of vLLM's.
    ///
    /// @param isHarmless whether a value (`true` or `false` of a switch) asks for what is done here anyway
    /// @param why what is done here instead, or why it is not there
    private record Entry(Takes takes, Predicate<String> isHarmless, String why) {}

    static {
        // What only a GPU or Python has.
        leftOut("--enforce-eager", Takes.NOTHING, "nothing is captured or compiled ahead here");
        leftOut("--trust-remote-code", Takes.NOTHING, "no code of a model's folder is ever run");
        leftOut("--disable-frontend-multiprocessing", Takes.NOTHING, "engine and server are one process here");
        leftOut("--use-v2-block-manager", Takes.NOTHING, "there is one block manager");
        leftOut("--async-scheduling", Takes.NOTHING, "scheduling takes microseconds here");
        leftOut("--swap-space", Takes.ONE, "nothing is swapped, preempted requests are computed again");
        leftOut("--max-seq-len-to-capture", Takes.ONE, "nothing is captured ahead here");
        leftOut("--cudagraph-capture-sizes", Takes.SEVERAL, "nothing is captured ahead here");
        leftOut("--cuda-graph-sizes", Takes.SEVERAL, "nothing is captured ahead here");
        leftOut("--max-cudagraph-capture-size", Takes.ONE, "nothing is captured ahead here");
        leftOut("--compilation-config", Takes.ONE, "nothing is compiled ahead here");
        leftOut("--optimization-level", Takes.ONE, "nothing is compiled ahead here");
        leftOut("--distributed-executor-backend", Takes.ONE, "there is one process");
        leftOut("--attention-backend", Takes.ONE, "there is one, see --ops");
        leftOut("--download-dir", Takes.ONE, "models are folders on this machine, nothing is fetched");
        leftOut("--hf-token", Takes.ONE, "models are folders on this machine, nothing is fetched");
        leftOut("--use-tqdm-on-load", Takes.NOTHING, "loading shows no bar");
        leftOut("--safetensors-load-strategy", Takes.ONE, "weights are mapped into memory");
        leftOut("--max-parallel-loading-workers", Takes.ONE, "weights are mapped into memory");
        leftOut("--limit-mm-per-prompt", Takes.ONE, "requests with images or sound are refused anyway");
        leftOut(
                "--prefix-caching-hash-algo",
                Takes.ONE,
                "blocks are named by SipHash-2-4-128 and their tokens are compared");
        leftOut("--renderer-num-workers", Takes.ONE, "each prompt is rendered on a virtual thread of its own");
        // What is logged, and what the web framework does.
        leftOut("--disable-log-requests", Takes.NOTHING, "requests are not logged here");
        leftOut(
                "--enable-log-requests",
                Takes.NOTHING,
                "requests are not logged here; the router's access log has them");
        leftOut("--max-log-len", Takes.ONE, "prompts are never logged");
        leftOut(
                "--disable-uvicorn-access-log",
                Takes.NOTHING,
                "the access log is the router's, see its --disable-access-log");
        leftOut("--disable-access-log-for-endpoints", Takes.ONE, "an instance has no access log");
        leftOut("--uvicorn-log-level", Takes.ONE, "the log's level is --log-level");
        leftOut("--disable-fastapi-docs", Takes.NOTHING, "there are no such pages");
        leftOut("--enable-server-load-tracking", Takes.NOTHING, "/load is always counted");
        leftOut("--h11-max-header-count", Takes.ONE, "the head's size is limited to 16 KiB");
        leftOut("--h11-max-incomplete-event-size", Takes.ONE, "bodies are limited to 32 MiB");
        // Only the value that says what is done here anyway.
        only("--pipeline-parallel-size", Set.of("1"), "one process computes a model");
        only("--data-parallel-size", Set.of("1"), "start more instances and name them to the router");
        only("--prefill-context-parallel-size", Set.of("1"), "context parallelism is not there");
        only("--decode-context-parallel-size", Set.of("1"), "context parallelism is not there");
        only("--api-server-count", Set.of("1"), "one process serves an instance");
        only("--nnodes", Set.of("1"), "an instance is one process");
        only("--node-rank", Set.of("0"), "an instance is one process");
        only("--cpu-offload-gb", Set.of("0"), "all memory is the CPU's already");
        only("--tokenizer-mode", Set.of("auto", "hf", "slow"), "the tokenizer is the folder's tokenizer.json");
        only("--config-format", Set.of("auto", "hf"), "a model is a folder in Hugging Face's format");
        only("--model-impl", Set.of("auto", "vllm"), "there is one implementation of a model");
        only("--runner", Set.of("auto", "generate"), "models generate, pooling is not there");
        only("--task", Set.of("auto", "generate"), "models generate, pooling is not there");
        only("--convert", Set.of("auto", "none"), "models generate, pooling is not there");
        only("--max-logprobs", Set.of("20"), "a request may ask for at most 20 log-probabilities a token");
        only("--logprobs-mode", Set.of("raw_logprobs"), "log-probabilities are those before penalties and temperature");
        only("--chat-template-content-format", Set.of("auto"), "the template itself decides");
        only("--guided-decoding-backend", Set.of("auto"), "there is one");
        only("--num-scheduler-steps", Set.of("1"), "each step is scheduled");
        only("--stream-interval", Set.of("1"), "each token is sent as soon as it is there");
        onlySwitch("--enable-chunked-prefill", true, "prompts are always computed in chunks");
        onlySwitch("--disable-sliding-window", false, "a model's window is part of the model");
        onlySwitch("--disable-hybrid-kv-cache-manager", false, "there is one kind of KV cache manager");
        onlySwitch("--enable-sleep-mode", false, "an instance cannot sleep");
        onlySwitch("--skip-tokenizer-init", false, "requests in text need the tokenizer");
        onlySwitch("--enable-expert-parallel", false, "models with experts are not there");
        // What would change what is served.
        refused("--tokenizer", "the tokenizer is the model folder's");
        refused("--revision", "a model is a folder on this machine, so name the folder of that revision");
        refused("--tokenizer-revision", "the tokenizer is the model folder's");
        refused("--code-revision", "no code of a model's folder is ever run");
        refused("--hf-overrides", "change config.json in the model's folder");
        refused("--hf-config-path", "config.json is the model folder's");
        refused("--speculative-config", "speculative decoding is not there");
        refused("--speculative-model", "speculative decoding is not there");
        onlySwitch("--enable-lora", false, "LoRA adapters are not there: merge the adapter into the model's weights");
        refused("--lora-modules", "LoRA adapters are not there: merge the adapter into the model's weights");
        refused("--reasoning-parser", "reasoning is not told apart from the answer here");
        refused("--logits-processors", "there are none to be loaded");
        refused("--tool-parser-plugin", "Python code is not loaded");
        refused("--middleware", "Python code is not loaded");
        refused("--scheduler-cls", "Python code is not loaded");
        refused("--worker-cls", "Python code is not loaded");
        refused("--root-path", "let the proxy in front cut the path off");
        refused("--uds", "an instance listens on a port: --host 127.0.0.1 keeps it to this machine");
        refused("--collect-detailed-traces", "traces are not exported");
        refused("--kv-offloading-size", "KV blocks are not offloaded");
        refused("--kv-offloading-backend", "KV blocks are not offloaded");
        refused("--cpu-offload-params", "weights are not offloaded");
        refused("--pooler-config", "models generate, pooling is not there");
        alias("-pp", "--pipeline-parallel-size");
        alias("-dp", "--data-parallel-size");
        alias("-dcp", "--decode-context-parallel-size");
        alias("-pcp", "--prefill-context-parallel-size");
        alias("-asc", "--api-server-count");
        alias("-O", "--optimization-level");
        alias("-cc", "--compilation-config");
        alias("-sc", "--speculative-config");
        alias("-n", "--nnodes");
        alias("-r", "--node-rank");
        alias("-ep", "--enable-expert-parallel");
    }

    private static void leftOut(String name, Takes takes, String why) {
        BY_NAME.put(name, new Entry(takes, _ -> true, why));
    }

    private static void only(String name, Set<String> values, String why) {
        String choice = String.join(" or ", new TreeSet<>(values));
        BY_NAME.put(name, new Entry(Takes.ONE, values::contains, "it can only be %s, %s".formatted(choice, why)));
    }

    private static void onlySwitch(String name, boolean isOn, String why) {
        BY_NAME.put(name, new Entry(Takes.NOTHING, Boolean.toString(isOn)::equals, why));
    }

    private static void refused(String name, String why) {
        BY_NAME.put(name, new Entry(Takes.ONE, _ -> false, why));
    }

    private static void alias(String shortName, String name) {
        BY_NAME.put(shortName, Objects.requireNonNull(BY_NAME.get(name)));
    }

    /// Every name, with its dashes.
    static Set<String> names() {
        return Set.copyOf(BY_NAME.keySet());
    }

    /// Judges the flag that stands in a command line.
    ///
    /// @return empty if it is none of these flags
    static Optional<Verdict> judge(List<String> words, int at) {
        String[] split = words.get(at).split("=", 2);
        String written = split[0].matches("-O\\d") ? "-O" : split[0];
        return find(written).map(entry -> {
            int end = at + 1;
            if (split.length == 1 && written.equals(split[0])) {
                int longest = switch (entry.takes()) {
                    case NOTHING -> 0;
                    case ONE -> 1;
                    case SEVERAL -> words.size();
                };
                while (end < words.size()
                        && end - at <= longest
                        && !words.get(end).startsWith("-")) {
                    end++;
                }
            }
            List<String> values = split.length == 2 ? List.of(split[1]) : words.subList(at + 1, end);
            return judge(written, entry, values, end - at);
        });
    }

    /// `--no-NAME` turns a switch off.
    private static Optional<Entry> find(String written) {
        Entry entry = BY_NAME.get(written);
        if (entry == null && written.startsWith("--no-")) {
            entry = BY_NAME.get("--" + written.substring("--no-".length()));
            return Optional.ofNullable(entry).filter(found -> found.takes() == Takes.NOTHING);
        }
        return Optional.ofNullable(entry);
    }

    private static Verdict judge(String written, Entry entry, List<String> values, int numWords) {
        String asked = String.join(" ", values);
        if (entry.takes() == Takes.NOTHING) {
            boolean isNegated = written.startsWith("--no-");
            asked = Boolean.toString(isNegated == values.equals(List.of("false")));
        }
        return entry.isHarmless().test(asked)
                ? new Verdict.LeftOut(numWords, "%s has no effect: %s.".formatted(written, entry.why()))
                : new Verdict.Refused(numWords, "%s is refused: %s.".formatted(written, entry.why()));
    }
}
