package dev.baton.benchmarks;

import dev.baton.openai.ChatCompletionResponses;
import dev.baton.openai.Choice;
import dev.baton.openai.CompletionResponses;
import dev.baton.openai.ResponseHead;
import dev.baton.openai.SseWriter;
import dev.baton.openai.StopReason;
import dev.baton.openai.ToolParts;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/// What a server does for one token of a stream, but for the socket: the chunk's JSON and its frame.
///
/// `java -jar benchmarks/target/benchmarks.jar SseBenchmark -prof gc`
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
        value = 1,
        jvmArgsAppend = {"--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"})
public class SseBenchmark {
    private final ResponseHead head =
            new ResponseHead("cmpl-0123456789abcdef0123456789abcdef", 1_700_000_000, "baton-tiny", "baton-0.1.0");
    private final Choice choice = new Choice(
            0,
            " weather",
            false,
            List.of(),
            0,
            Optional.empty(),
            new StopReason.None(),
            Optional.empty(),
            Optional.empty(),
            Optional.empty(),
            ToolParts.NONE);

    @Setup
    public void setUp() {
        for (byte[] frame : List.of(completion(), chat())) {
            String text = new String(frame, StandardCharsets.UTF_8);
            if (!text.startsWith("data: {") || !text.contains("\" weather\"") || !text.endsWith("}\n\n")) {
                throw new IllegalStateException("the frame is wrong, not timing it: " + text);
            }
        }
    }

    @Benchmark
    public byte[] completion() {
        return SseWriter.event(CompletionResponses.chunk(head, choice, Optional.empty(), false));
    }

    @Benchmark
    public byte[] chat() {
        return SseWriter.event(ChatCompletionResponses.chunk(head, choice, Optional.empty(), false));
    }
}
