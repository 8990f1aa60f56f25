package dev.baton.tensor.cuda.owned;

import static dev.baton.tensor.cuda.owned.Kernel.Parameter.FLOAT;
import static dev.baton.tensor.cuda.owned.Kernel.Parameter.INT;
import static dev.baton.tensor.cuda.owned.Kernel.Parameter.LONG;
import static dev.baton.tensor.cuda.owned.Kernel.Parameter.TENSOR_MAP;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.checked.Cuda;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.junit.jupiter.api.Test;

class KernelArgumentsTest {
    private final KernelArguments arguments =
            new KernelArguments("some_kernel", List.of(LONG, INT, FLOAT, LONG), Arena.ofAuto());

    private static MemorySegment argument(MemorySegment table, int i) {
        return table.getAtIndex(ValueLayout.ADDRESS, i).reinterpret(Long.BYTES);
    }

    @Test
    void eachAddressOfTheTableLeadsToItsArgument() {
        for (long base : new long[] {0, Long.MAX_VALUE}) {
            arguments.begin();
            arguments.add(base - 1);
            arguments.add((int) base - 2);
            arguments.add(base + 0.5f);
            arguments.add(base - 4);
            MemorySegment table = arguments.complete();
            assertThat(table.byteSize()).isEqualTo(4 * ValueLayout.ADDRESS.byteSize());
            assertThat(argument(table, 0).get(ValueLayout.JAVA_LONG, 0)).isEqualTo(base - 1);
            assertThat(argument(table, 1).get(ValueLayout.JAVA_INT, 0)).isEqualTo((int) base - 2);
            assertThat(argument(table, 2).get(ValueLayout.JAVA_FLOAT, 0)).isEqualTo(base + 0.5f);
            assertThat(argument(table, 3).get(ValueLayout.JAVA_LONG, 0)).isEqualTo(base - 4);
        }
    }

    @Test
    void tensorMapIsCopiedAndAlignedForIt() {
        KernelArguments mixed = new KernelArguments("some_kernel", List.of(INT, TENSOR_MAP, LONG), Arena.ofAuto());
        MemorySegment map = Arena.ofAuto().allocate(Cuda.TENSOR_MAP_BYTES);
        map.fill((byte) 7);
        mixed.begin();
        mixed.add(1);
        mixed.add(map);
        mixed.add(2L);
        MemorySegment table = mixed.complete();
        MemorySegment copy = table.getAtIndex(ValueLayout.ADDRESS, 1);
        assertThat(copy.address() % Cuda.TENSOR_MAP_BYTES).isZero();
        assertThat(copy.reinterpret(Cuda.TENSOR_MAP_BYTES).mismatch(map)).isEqualTo(-1);
        map.fill((byte) 0);
        assertThat(copy.reinterpret(Cuda.TENSOR_MAP_BYTES).toArray(ValueLayout.JAVA_BYTE))
                .containsOnly((byte) 7);
        assertThat(argument(table, 0).get(ValueLayout.JAVA_INT, 0)).isEqualTo(1);
        assertThat(argument(table, 2).get(ValueLayout.JAVA_LONG, 0)).isEqualTo(2);
    }

    @Test
    void argumentOfAnotherKindIsRefused() {
        arguments.begin();
        arguments.add(1L);
        assertThatThrownBy(() -> arguments.add(2L))
                .isInstanceOf(TensorException.class)
                .hasMessage("argument 1 of the kernel some_kernel is given as LONG; its parameters are"
                        + " [LONG, INT, FLOAT, LONG]");
    }

    @Test
    void argumentTooManyIsRefused() {
        arguments.begin();
        arguments.add(1L);
        arguments.add(1);
        arguments.add(1f);
        arguments.add(1L);
        assertThatThrownBy(() -> arguments.add(1L)).isInstanceOf(TensorException.class);
    }

    @Test
    void launchWithoutAllArgumentsIsRefused() {
        arguments.begin();
        arguments.add(1L);
        arguments.add(1);
        assertThatThrownBy(arguments::complete)
                .isInstanceOf(TensorException.class)
                .hasMessage("the kernel some_kernel was given 2 of its 4 arguments");
    }
}
