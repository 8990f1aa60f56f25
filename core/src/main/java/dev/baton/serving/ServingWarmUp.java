package dev.baton.serving;

import dev.baton.engine.Engine;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.LoopbackCall;
import dev.baton.tokenizer.Tokenizer;
import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Sends an engine requests over the loopback, through a server of its own, before the real one takes any:
/// until the virtual machine has compiled the way of a request, the first ones wait milliseconds for it, which
/// is seen in their time to the first token where a model on a device takes not much longer itself.
///
/// Prompts and their outputs are shorter than any KV block, so that none gets into the prefix cache or to a
/// connector. Long ones are sent only to be refused, for what reads them, and named as an engine does.
public final class ServingWarmUp {
    private static final Logger LOG = LoggerFactory.getLogger(ServingWarmUp.class);
    private static final int CALLERS = 16;
    private static final int SHORT_TOKENS = 12;
    private static final int NEW_TOKENS = 2;
    private static final int LONG_TOKENS = 2048;
    private static final Duration ANSWER_DEADLINE = Duration.ofSeconds(20);

    private ServingWarmUp() {}

    /// Sends requests, several at a time, until the time is over. The engine must have no other work.
    ///
    /// @param config of the real server; its address, keys and log are not used
    /// @return how many were answered
    public static int run(EngineServerConfig config, Engine engine, Tokenizer tokenizer, Duration time) {
        EngineServerConfig local = EngineServerConfig.builder(
                        HttpServerConfig.builder("127.0.0.1", 0).build(), config.modelName(), config.vocabSize())
                .defaultSampling(config.defaultSampling())
                .logStats(false)
                .build();
        long end = System.nanoTime() + time.toNanos();
        int[] prompt = IntStream.range(0, SHORT_TOKENS)
                .map(i -> i % config.vocabSize())
                .toArray();
        int[] refused = Arrays.copyOf(prompt, LONG_TOKENS);
        refused[LONG_TOKENS - 1] = config.vocabSize(); // no token
        LoopbackCall answered = request(config, prompt);
        LoopbackCall read = request(config, refused);
        AtomicInteger answers = new AtomicInteger();
        try (EngineServer server = EngineServer.start(local, engine, tokenizer);
                ExecutorService callers = Executors.newVirtualThreadPerTaskExecutor()) {
            int port = server.port();
            for (int caller = 0; caller < CALLERS; caller++) {
                callers.execute(() -> {
                    for (int i = 0; System.nanoTime() < end; i++) {
                        engine.warmUp(refused);
                        if (!isAnswered(port, i % 2 == 1 ? read : answered)) {
                            return;
                        }
                        answers.incrementAndGet();
                    }
                });
            }
        }
        return answers.get();
    }

    private static LoopbackCall request(EngineServerConfig config, int[] prompt) {
        return LoopbackCall.post(
                "/v1/completions",
                Map.of(),
                Map.of(
                        "model",
                        config.modelName(),
                        "prompt",
                        prompt,
                        "max_tokens",
                        NEW_TOKENS,
                        "temperature",
                        0,
                        "ignore_eos",
                        true,
                        "stream",
                        true));
    }

    private static boolean isAnswered(int port, LoopbackCall request) {
        try {
            request.send(port, ANSWER_DEADLINE);
            return true;
        } catch (IOException e) {
            LOG.warn("the server could not be warmed up: {}", e.toString());
            return false;
        }
    }
}
