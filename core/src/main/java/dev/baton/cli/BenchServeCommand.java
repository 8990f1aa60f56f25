package dev.baton.cli;

import dev.baton.bench.ArrivalProcess;
import dev.baton.bench.BenchRequest;
import dev.baton.bench.Endpoint;
import dev.baton.bench.Goodput;
import dev.baton.bench.Metric;
import dev.baton.bench.Prompt;
import dev.baton.bench.RandomDataset;
import dev.baton.bench.RequestResult;
import dev.baton.bench.ServingBenchmark;
import dev.baton.bench.ServingMetrics;
import dev.baton.bench.ServingReport;
import dev.baton.http.FileProblem;
import dev.baton.tokenizer.Tokenizer;
import java.io.IOException;
import java.io.PrintWriter;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.UUID;
import java.util.concurrent.Callable;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/// `baton bench serve`: loads an OpenAI server and reports as `vllm bench serve` does, with its flags.
@Command(
        name = "serve",
        description = "Loads an OpenAI server and reports TTFT, TPOT, ITL and throughput as 'vllm bench serve' does.",
        sortOptions = false,
        abbreviateSynopsis = true)
final class BenchServeCommand implements Callable<Integer> {
    /// vLLM's names for who is asked; they decide the endpoint.
    private static final List<String> BACKENDS = List.of("openai", "vllm", "openai-chat");

    private static final DateTimeFormatter DATE = DateTimeFormatter.ofPattern("yyyyMMdd-HHmmss", Locale.ROOT);
    private static final int MAX_ERRORS_SHOWN = 10;

    @Option(
            names = "--backend",
            paramLabel = "NAME",
            defaultValue = "openai",
            description = "openai, vllm or openai-chat.")
    String backend = "";

    @Option(names = "--base-url", paramLabel = "URL", description = "Address of the server, instead of host and port.")
    @Nullable
    String baseUrl;

    @Option(
            names = "--host",
            paramLabel = "HOST",
            defaultValue = "127.0.0.1",
            description = "Default: ${DEFAULT-VALUE}.")
    String host = "";

    @Option(
            names = "--port",
            paramLabel = "PORT",
            defaultValue = "9000",
            description = "Default: ${DEFAULT-VALUE}, the router of 'baton up'.")
    int port;

    @Option(names = "--endpoint", paramLabel = "PATH", description = "Default: what the backend needs.")
    @Nullable
    String endpointPath;

    @Option(
            names = "--model",
            paramLabel = "NAME",
            description = "Name of the model (default: the first of /v1/models).")
    @Nullable
    String model;

    @Option(
            names = "--served-model-name",
            paramLabel = "NAME",
            description = "Name of the model in requests, if it is another.")
    @Nullable
    String servedModelName;

    @Option(
            names = "--tokenizer",
            paramLabel = "DIR",
            description = "Folder with the model's tokenizer.json (default: --model, or what the server loaded).")
    @Nullable
    Path tokenizerFolder;

    @Option(
            names = "--dataset-name",
            paramLabel = "NAME",
            defaultValue = "random",
            description = "random: prompts of exact lengths.")
    String datasetName = "";

    @Option(
            names = "--num-prompts",
            paramLabel = "N",
            defaultValue = "1000",
            description = "Requests (default: ${DEFAULT-VALUE}).")
    int numPrompts;

    @Option(names = "--seed", paramLabel = "N", defaultValue = "0", description = "Default: ${DEFAULT-VALUE}.")
    long seed;

    @Option(
            names = {"--random-input-len", "--input-len"},
            paramLabel = "N",
            defaultValue = "1024",
            description = "Tokens of a prompt (default: ${DEFAULT-VALUE}).")
    int randomInputLen;

    @Option(
            names = {"--random-output-len", "--output-len"},
            paramLabel = "N",
            defaultValue = "128",
            description = "Tokens to generate (default: ${DEFAULT-VALUE}).")
    int randomOutputLen;

    @Option(
            names = "--random-range-ratio",
            paramLabel = "RATIO",
            defaultValue = "0.0",
            description = "Lengths vary by this part up and down (default: ${DEFAULT-VALUE}).")
    double randomRangeRatio;

    @Option(
            names = "--random-prefix-len",
            paramLabel = "N",
            defaultValue = "0",
            description = "Tokens that all prompts begin with (default: ${DEFAULT-VALUE}).")
    int randomPrefixLen;

    @Option(
            names = "--request-rate",
            paramLabel = "RATE",
            defaultValue = "inf",
            description = "Requests a second (default: all at once).")
    String requestRate = "";

    @Option(
            names = "--burstiness",
            paramLabel = "FACTOR",
            defaultValue = "1.0",
            description = "Shape of the gamma distribution of the intervals: 1 is Poisson, more is more regular.")
    String burstiness = "";

    @Option(names = "--max-concurrency", paramLabel = "N", description = "Most requests under way at a time.")
    @Nullable
    Integer maxConcurrency;

    @Option(
            names = "--ignore-eos",
            description = "Generate to the full length. Always so with random prompts, as in today's vLLM.")
    boolean ignoreEos;

    @Option(names = "--temperature", paramLabel = "T", description = "Default: the server's.")
    @Nullable
    Double temperature;

    @Option(names = "--top-p", paramLabel = "P", description = "Default: the server's.")
    @Nullable
    Double topP;

    @Option(
            names = "--num-warmups",
            paramLabel = "N",
            defaultValue = "0",
            description = "Requests before the measurement (default: ${DEFAULT-VALUE}).")
    int numWarmups;

    @Option(
            names = "--percentile-metrics",
            paramLabel = "NAMES",
            defaultValue = "ttft,tpot,itl",
            description = "Metrics to report, of ttft, tpot, itl, e2el (default: ${DEFAULT-VALUE}).")
    String percentileMetrics = "";

    @Option(
            names = "--metric-percentiles",
            paramLabel = "PERCENTILES",
            defaultValue = "99",
            description = "Percentiles to report, for example 50,90,99 (default: ${DEFAULT-VALUE}).")
    String metricPercentiles = "";

    @Option(
            names = "--goodput",
            arity = "1..*",
            paramLabel = "METRIC:MS",
            description = "Objectives of a good request, for example ttft:200 tpot:50.")
    List<String> goodput = new ArrayList<>();

    @Option(
            names = "--request-id-prefix",
            paramLabel = "PREFIX",
            description = "Begins the x-request-id of every request (default: bench-, 8 random digits and -).")
    @Nullable
    String requestIdPrefix;

    @Option(names = "--disable-tqdm", description = "No progress bar.")
    boolean disableProgress;

    @Option(names = "--save-result", description = "Write the result as JSON.")
    boolean saveResult;

    @Option(names = "--save-detailed", description = "With the figures of every request.")
    boolean saveDetailed;

    @Option(names = "--result-dir", paramLabel = "DIR", description = "Where to write it (default: here).")
    @Nullable
    Path resultDirectory;

    @Option(
            names = "--result-filename",
            paramLabel = "FILE",
            description = "Default: made of label, rate, model, date.")
    @Nullable
    String resultFilename;

    @Option(names = "--label", paramLabel = "TEXT", description = "Begins the file's name (default: the backend).")
    @Nullable
    String label;

    @Option(names = "--metadata", arity = "1..*", paramLabel = "KEY=VALUE", description = "Kept in the result.")
    List<String> metadata = new ArrayList<>();

    @Mixin
    ConfigOption file = new ConfigOption();

    @Spec
    CommandSpec spec = CommandSpec.create();

    @Override
    public Integer call() throws InterruptedException {
        checkUsage();
        Endpoint endpoint = backend.equals("openai-chat") ? Endpoint.CHAT : Endpoint.COMPLETIONS;
        String base = baseUrl == null ? "http://" + host + ":" + port : baseUrl.replaceAll("/+$", "");
        ArrivalProcess arrivals =
                new ArrivalProcess(real("--request-rate", requestRate), real("--burstiness", burstiness));
        List<Metric> selected = Metric.parse(percentileMetrics);
        Goodput objectives = Goodput.parse(goodput);
        List<Double> percentiles = Arrays.stream(metricPercentiles.split(","))
                .map(text -> real("--metric-percentiles", text.strip()))
                .toList();
        PrintWriter out = spec.commandLine().getOut();
        try (ServingBenchmark benchmark = new ServingBenchmark()) {
            ServingBenchmark.ServedModel served = servedModel(benchmark, base);
            Path folder = tokenizerFolder(served);
            try (Tokenizer tokenizer = Tokenizer.load(folder)) {
                RandomDataset dataset =
                        new RandomDataset(randomInputLen, randomOutputLen, randomRangeRatio, randomPrefixLen);
                List<BenchRequest> requests = dataset.requests(tokenizer, numPrompts, seed, endpoint == Endpoint.CHAT);
                tellUnusual(requests);
                ServingBenchmark.Plan plan = new ServingBenchmark.Plan(
                        URI.create(base + (endpointPath == null ? endpoint.path() : endpointPath)),
                        endpoint,
                        servedModelName == null ? served.id() : servedModelName,
                        ignoreEos || datasetName.equals("random"),
                        sampling(),
                        requestIdPrefix == null
                                ? "bench-" + UUID.randomUUID().toString().substring(0, 8) + "-"
                                : requestIdPrefix,
                        ApiKeyVariable.read(),
                        arrivals,
                        concurrency(),
                        text -> tokenizer.encode(text, false).length);
                ServingBenchmark.Run run = run(benchmark, plan, requests, out);
                ServingReport report = new ServingReport(
                        backend,
                        Optional.ofNullable(label),
                        served.id(),
                        tokenizerFolder == null ? served.root() : tokenizerFolder.toString(),
                        numPrompts,
                        keyValues(),
                        arrivals,
                        concurrency(),
                        selected,
                        !goodput.isEmpty(),
                        ServingMetrics.of(run.results(), run.durationSeconds(), percentiles, objectives),
                        run.results());
                tellFailures(run.results());
                out.println(report.text());
                out.flush();
                save(report);
                return report.metrics().failed() == 0 ? Exit.OK : Exit.FAILURE;
            }
        }
    }

    private void checkUsage() {
        if (!BACKENDS.contains(backend)) {
            throw usage("--backend %s is not known: choose from %s.".formatted(backend, String.join(", ", BACKENDS)));
        }
        if (!datasetName.equals("random")) {
            throw usage("--dataset-name %s is not there yet: only random is.".formatted(datasetName));
        }
        if (numPrompts < 1 || numWarmups < 0 || (maxConcurrency != null && maxConcurrency < 1)) {
            throw usage("--num-prompts and --max-concurrency must be at least 1, --num-warmups at least 0.");
        }
        keyValues();
    }

    private ParameterException usage(String message) {
        return new ParameterException(spec.commandLine(), message);
    }

    private double real(String flag, String text) {
        try {
            return text.equals("inf") ? Double.POSITIVE_INFINITY : Double.parseDouble(text);
        } catch (NumberFormatException e) {
            throw new ParameterException(spec.commandLine(), "%s %s is no number.".formatted(flag, text), e);
        }
    }

    private OptionalInt concurrency() {
        return maxConcurrency == null ? OptionalInt.empty() : OptionalInt.of(maxConcurrency);
    }

    private Map<String, Double> sampling() {
        Map<String, Double> sampling = new LinkedHashMap<>();
        if (topP != null) {
            sampling.put("top_p", topP);
        }
        if (temperature != null) {
            sampling.put("temperature", temperature);
        }
        return sampling;
    }

    private Map<String, String> keyValues() {
        Map<String, String> pairs = new LinkedHashMap<>();
        for (String pair : metadata) {
            int equals = pair.indexOf('=');
            if (equals < 1) {
                throw usage("--metadata %s is no KEY=VALUE.".formatted(pair));
            }
            pairs.put(
                    pair.substring(0, equals).strip(),
                    pair.substring(equals + 1).strip());
        }
        return pairs;
    }

    private ServingBenchmark.ServedModel servedModel(ServingBenchmark benchmark, String base) {
        return model == null
                ? benchmark.firstModel(base, ApiKeyVariable.read())
                : new ServingBenchmark.ServedModel(model, model);
    }

    /// The embedded model's folder serves for a server that names the embedded model but not its folder.
    private Path tokenizerFolder(ServingBenchmark.ServedModel served) {
        List<Path> candidates = new ArrayList<>();
        if (tokenizerFolder != null) {
            candidates.add(tokenizerFolder);
        } else {
            candidates.add(Path.of(served.root()));
            if (served.id().equals(ModelFolder.nameOf(ModelFolder.embedded()))) {
                candidates.add(ModelFolder.embedded());
            }
        }
        return candidates.stream()
                .filter(folder -> Files.isRegularFile(folder.resolve("tokenizer.json")))
                .findFirst()
                .orElseThrow(() -> new CliException(
                        "There is no tokenizer.json in %s: name the model's folder with --tokenizer DIR."
                                .formatted(candidates.getFirst())));
    }

    private ServingBenchmark.Run run(
            ServingBenchmark benchmark, ServingBenchmark.Plan plan, List<BenchRequest> requests, PrintWriter out)
            throws InterruptedException {
        if (numWarmups > 0) {
            out.println("Warming up with " + numWarmups + " requests...");
            out.flush();
            benchmark.warmUp(plan, requests.getFirst(), numWarmups, () -> {});
        }
        out.println("Starting main benchmark run...");
        double rate = plan.arrivals().requestRate();
        out.println("Traffic request rate: " + (Double.isInfinite(rate) ? "inf" : rate));
        out.println("Burstiness factor: " + plan.arrivals().burstiness()
                + (plan.arrivals().burstiness() == 1 ? " (Poisson process)" : " (Gamma distribution)"));
        out.println("Maximum request concurrency: " + (maxConcurrency == null ? "None" : maxConcurrency));
        out.flush();
        if (disableProgress) {
            return benchmark.run(plan, requests, seed, () -> {});
        }
        try (ProgressBar bar = new ProgressBarBuilder()
                .setInitialMax(requests.size())
                .setTaskName("Requests")
                .setStyle(ProgressBarStyle.ASCII)
                .build()) {
            return benchmark.run(plan, requests, seed, bar::step);
        }
    }

    private void tellUnusual(List<BenchRequest> requests) {
        long asTokens = requests.stream()
                .filter(request -> request.prompt() instanceof Prompt.Tokens)
                .count();
        if (asTokens > 0) {
            spec.commandLine()
                    .getErr()
                    .println(asTokens + " of " + requests.size()
                            + " prompts are sent as token ids: no text was found that encodes to their exact length.");
        }
    }

    private void tellFailures(List<RequestResult> results) {
        List<String> errors = results.stream()
                .filter(result -> !result.success())
                .map(RequestResult::error)
                .toList();
        PrintWriter err = spec.commandLine().getErr();
        errors.stream().limit(MAX_ERRORS_SHOWN).forEach(error -> err.println("failed: " + error));
        if (errors.size() > MAX_ERRORS_SHOWN) {
            err.println("... and " + (errors.size() - MAX_ERRORS_SHOWN) + " more");
        }
    }

    /// @throws CliException if the file cannot be written
    private void save(ServingReport report) {
        if (!saveResult) {
            return;
        }
        String date = LocalDateTime.now(ZoneId.systemDefault()).format(DATE);
        Path directory = resultDirectory == null ? Path.of("") : resultDirectory;
        Path file = directory.resolve(resultFilename == null ? report.fileName(date) : resultFilename);
        try {
            Files.createDirectories(directory.toAbsolutePath());
            Files.writeString(file, report.json(date, saveDetailed).toString());
        } catch (IOException e) {
            throw new CliException("The result cannot be written to %s: %s.".formatted(file, FileProblem.of(e)), e);
        }
    }
}
