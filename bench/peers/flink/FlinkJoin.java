import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.Comparator;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.CoreOptions;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Clicks joined with their queries by Flink, in a cluster of one process: exactly once, by a checkpoint each second. */
public final class FlinkJoin {
    private static final Duration CHECKPOINT_EVERY = Duration.ofSeconds(1);
    private static final TypeInformation<byte[]> BYTES = PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;

    public static void main(String[] args) throws Exception {
        Map<String, String> job = System.getenv();
        Path data = Path.of(job.get("PEER_DATA"));
        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(
                Runtime.getRuntime().availableProcessors(), configuration(data));
        KeyedStream<Tuple2<String, byte[]>, String> clicks = read(env, job, job.get("PEER_FOREIGN"));
        KeyedStream<Tuple2<String, byte[]>, String> queries = read(env, job, job.get("PEER_PRIMARY"));
        clicks.connect(queries).process(new Join()).returns(BYTES).sinkTo(sink(job));
        env.execute(job.get("PEER_NAME"));
    }

    private static Configuration configuration(Path data) throws IOException {
        Path temporary = Files.createDirectories(data.resolve("tmp"));
        Path checkpoints = data.resolve("checkpoints");
        Configuration configuration = new Configuration();
        configuration.set(CoreOptions.TMP_DIRS, temporary.toString());
        configuration.set(PipelineOptions.OBJECT_REUSE, true);
        configuration.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, CHECKPOINT_EVERY);
        configuration.set(CheckpointingOptions.CHECKPOINTING_CONSISTENCY_MODE, CheckpointingMode.EXACTLY_ONCE);
        configuration.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, checkpoints.toUri().toString());
        configuration.set(
                CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION,
                ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        configuration.set(StateBackendOptions.STATE_BACKEND, "rocksdb");
        configuration.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, true);
        configuration.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(512));
        configuration.set(RestartStrategyOptions.RESTART_STRATEGY, "disable");
        latest(checkpoints).ifPresent(path -> configuration.set(StateRecoveryOptions.SAVEPOINT_PATH, path.toUri().toString()));
        return configuration;
    }

    /** The last checkpoint that was completed before this process started: what a supervisor would hand it. */
    private static Optional<Path> latest(Path checkpoints) {
        if (!Files.isDirectory(checkpoints)) {
            return Optional.empty();
        }
        try (Stream<Path> files = Files.walk(checkpoints, 3)) {
            return files.filter(file -> file.endsWith("_metadata"))
                    .max(Comparator.comparing(FlinkJoin::modified))
                    .map(Path::getParent);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static FileTime modified(Path file) {
        try {
            return Files.getLastModifiedTime(file);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static KeyedStream<Tuple2<String, byte[]>, String> read(
            StreamExecutionEnvironment env, Map<String, String> job, String topic) {
        KafkaSource<Tuple2<String, byte[]>> source = KafkaSource.<Tuple2<String, byte[]>>builder()
                .setBootstrapServers(job.get("PEER_KAFKA"))
                .setTopics(topic)
                .setGroupId(job.get("PEER_NAME"))
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setDeserializer(new KeyAndValue())
                .setProperty("isolation.level", "read_committed")
                .setProperty("max.poll.records", "5000")
                .setProperty("max.partition.fetch.bytes", "4194304")
                .setProperty("check.crcs", "false")
                .build();
        return env.fromSource(source, WatermarkStrategy.noWatermarks(), topic).uid(topic).keyBy(record -> record.f0);
    }

    private static KafkaSink<byte[]> sink(Map<String, String> job) {
        String topic = job.get("PEER_OUTPUT");
        return KafkaSink.<byte[]>builder()
                .setBootstrapServers(job.get("PEER_KAFKA"))
                .setRecordSerializer((KafkaRecordSerializationSchema<byte[]>)
                        (row, context, timestamp) -> new ProducerRecord<>(topic, row))
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix(job.get("PEER_NAME"))
                .setProperty("transaction.timeout.ms", "60000")
                .setProperty("linger.ms", "20")
                .setProperty("batch.size", "262144")
                .setProperty("buffer.memory", "67108864")
                .build();
    }

    /** The message's key is the query's id; nothing is parsed. */
    private static final class KeyAndValue implements KafkaRecordDeserializationSchema<Tuple2<String, byte[]>> {
        private static final long serialVersionUID = 1;

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Tuple2<String, byte[]>> out) {
            out.collect(Tuple2.of(new String(record.key(), ISO_8859_1), record.value()));
        }

        @Override
        public TypeInformation<Tuple2<String, byte[]>> getProducedType() {
            return Types.TUPLE(Types.STRING, BYTES);
        }
    }
}
