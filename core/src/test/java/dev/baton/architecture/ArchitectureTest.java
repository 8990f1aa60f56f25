package dev.baton.architecture;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.lang.ArchRule;
import dev.baton.kvcache.PlantedViolation;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

/// The arrows between the rooms of `ARCHITECTURE.md`, as a test that has been seen to fail.
class ArchitectureTest {
    /// Room -> rooms that it may depend on. Everything else is forbidden.
    private static final Map<String, Set<String>> ARROWS = new TreeMap<>(Map.ofEntries(
            Map.entry("launch", Set.of("discovery", "http")),
            Map.entry("bench", Set.of("openai", "http", "tokenizer")),
            Map.entry("router", Set.of("openai", "http", "discovery", "wire", "metrics")),
            Map.entry("serving", Set.of("engine", "grammar", "transfer", "openai", "http", "tokenizer", "metrics")),
            Map.entry("engine", Set.of("kvcache", "transfer", "model", "tensor", "metrics")),
            Map.entry("transfer", Set.of("kvcache", "tensor", "wire", "metrics")),
            Map.entry("kvcache", Set.of()),
            Map.entry("model", Set.of("tensor")),
            Map.entry("tensor", Set.of()),
            Map.entry("tokenizer", Set.of()),
            Map.entry("grammar", Set.of()),
            Map.entry("openai", Set.of()),
            Map.entry("discovery", Set.of("http", "wire", "metrics")),
            Map.entry("wire", Set.of()),
            Map.entry("http", Set.of()),
            Map.entry("metrics", Set.of())));

    static final List<String> ROOMS = List.copyOf(ARROWS.keySet());

    private static final JavaClasses PRODUCT = new ClassFileImporter()
            .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
            .importPackages("dev.baton");

    @ParameterizedTest
    @FieldSource("ROOMS")
    void roomDependsOnItsArrowsOnly(String room) {
        arrowsOf(room).check(PRODUCT);
    }

    @Test
    void everyPackageBelongsToARoom() {
        List<String> strangers = new ArrayList<>();
        PRODUCT.forEach(type -> {
            String[] parts = type.getPackageName().split("\\.");
            if (parts.length < 3 || !(ARROWS.containsKey(parts[2]) || parts[2].equals("cli"))) {
                strangers.add(type.getName());
            }
        });
        assertThat(strangers).isEmpty();
    }

    @Test
    void forbiddenArrowIsFound() {
        JavaClasses planted = new ClassFileImporter().importClasses(PlantedViolation.class);
        assertThatThrownBy(() -> arrowsOf("kvcache").check(planted))
                .isInstanceOf(AssertionError.class)
                .hasMessageContaining("dev.baton.engine");
    }

    @Test
    void engineAndBelowKnowNeitherHttpNorJson() {
        noClasses()
                .that()
                .resideInAnyPackage(
                        "dev.baton.engine..",
                        "dev.baton.kvcache..",
                        "dev.baton.transfer..",
                        "dev.baton.tensor..",
                        "dev.baton.wire..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("tools.jackson..", "io.vertx..", "io.netty..", "java.net.http..")
                .check(PRODUCT);
    }

    @Test
    void onlyMetricsHoldsARegistryAndWritesItsText() {
        noClasses()
                .that()
                .resideOutsideOfPackage("dev.baton.metrics..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("io.prometheus.metrics.model..", "io.prometheus.metrics.expositionformats..")
                .check(PRODUCT);
    }

    @Test
    void onlyCliAndBenchWriteToStandardOutput() {
        noClasses()
                .that()
                .resideOutsideOfPackages("dev.baton.cli..", "dev.baton.bench..")
                .should()
                .accessField(System.class, "out")
                .check(PRODUCT);
    }

    @Test
    void nobodyUsesUnsafeOrJavaSerialisation() {
        noClasses()
                .should()
                .dependOnClassesThat()
                .haveFullyQualifiedName("sun.misc.Unsafe")
                .orShould()
                .dependOnClassesThat()
                .haveFullyQualifiedName("java.io.ObjectInputStream")
                .orShould()
                .dependOnClassesThat()
                .haveFullyQualifiedName("java.io.ObjectOutputStream")
                .check(PRODUCT);
    }

    private static ArchRule arrowsOf(String room) {
        List<String> allowed = new ArrayList<>();
        allowed.add("dev.baton." + room + "..");
        ARROWS.get(room).forEach(target -> allowed.add("dev.baton." + target + ".."));
        List<String> forbidden = new ArrayList<>();
        ARROWS.keySet().stream()
                .map(other -> "dev.baton." + other + "..")
                .filter(other -> !allowed.contains(other))
                .forEach(forbidden::add);
        forbidden.add("dev.baton.cli..");
        return noClasses()
                .that()
                .resideInAPackage("dev.baton." + room + "..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(forbidden.toArray(String[]::new))
                .allowEmptyShould(true)
                .because("ARCHITECTURE.md draws no such arrow");
    }
}
