package dev.baton.cli;

import dev.baton.serving.tools.ToolParsers;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Iterator;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// Flags about what the OpenAI server of an instance answers.
@Command
final class FrontendOptions {
    @Option(
            names = "--chat-template",
            paramLabel = "FILE",
            description = "File with the chat template, or the template in one line (default: the model's).")
    @Nullable
    String chatTemplate;

    @Option(
            names = "--response-role",
            paramLabel = "ROLE",
            defaultValue = "assistant",
            description = "Role of a chat's answer (default: ${DEFAULT-VALUE}).")
    String responseRole = "";

    @Option(
            names = "--enable-prompt-tokens-details",
            negatable = true,
            description = "Report cached prompt tokens in usage.prompt_tokens_details.")
    boolean enablePromptTokensDetails;

    @Option(
            names = "--enable-request-id-headers",
            negatable = true,
            description = "Answer with the header X-Request-Id.")
    boolean enableRequestIdHeaders;

    @Option(
            names = "--enable-auto-tool-choice",
            negatable = true,
            description = "Look for calls of tools in the output. Needs --tool-call-parser.")
    boolean enableAutoToolChoice;

    @Option(
            names = "--tool-call-parser",
            paramLabel = "NAME",
            completionCandidates = ToolCallParserNames.class,
            description = "How the model writes calls of tools: ${COMPLETION-CANDIDATES}.")
    @Nullable
    String toolCallParser;

    @Option(
            names = "--enable-force-include-usage",
            negatable = true,
            description = "Report usage on every chunk of every stream.")
    boolean enableForceIncludeUsage;

    @Option(
            names = "--sse-keep-alive-interval",
            paramLabel = "SECONDS",
            defaultValue = "0",
            converter = Seconds.class,
            description = "Send a comment on a stream that is silent for so long, also while its request waits:"
                    + " its status is 200 from then on; 0: never (default: ${DEFAULT-VALUE}).")
    Duration sseKeepAliveInterval = Duration.ZERO;

    @Option(
            names = "--server-dev-mode",
            negatable = true,
            description = "Serve /reset_prefix_cache and /debug/integrity.")
    boolean serverDevMode;

    /// The template's text, if another than the model's is wanted.
    ///
    /// @throws CliException if there is no such file and the flag's value is no template either
    Optional<String> chatTemplate() {
        String given = chatTemplate;
        if (given == null) {
            return Optional.empty();
        }
        if (given.contains("{%") || given.contains("{{")) {
            return Optional.of(given);
        }
        try {
            return Optional.of(Files.readString(Path.of(given)));
        } catch (IOException e) {
            throw new CliException(
                    "--chat-template %s cannot be read: name a file, or write a template with {{ or {%%."
                            .formatted(given),
                    e);
        }
    }

    /// The names that `--tool-call-parser` takes, for the help.
    static final class ToolCallParserNames implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return ToolParsers.names().iterator();
        }
    }
}
