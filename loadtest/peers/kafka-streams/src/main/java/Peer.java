import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.StringJoiner;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtSession;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.msgpack.core.MessageBufferPacker;
import org.msgpack.core.MessagePack;
import org.msgpack.core.MessageUnpacker;

/** Kafka Streams: one mapValues that decodes an event, scores it with ONNX Runtime and encodes the result. */
public final class Peer {
    private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
    private final OrtSession session;
    private final String input;
    private final ObjectMapper json = new ObjectMapper();

    private Peer(String model) throws Exception {
        OrtSession.SessionOptions options = new OrtSession.SessionOptions();
        options.setIntraOpNumThreads(1);
        options.setInterOpNumThreads(1);
        session = environment.createSession(model, options);
        input = session.getInputNames().iterator().next();
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, String> given = new HashMap<>();
        for (int at = 0; at + 1 < arguments.length; at += 2) {
            given.put(arguments[at].substring(2), arguments[at + 1]);
        }
        Peer peer = new Peer(given.get("model"));
        boolean isJson = given.get("workload").equals("crayfish");
        StreamsBuilder builder = new StreamsBuilder();
        builder.<byte[], byte[]>stream(given.get("source"))
            .mapValues(value -> isJson ? peer.scoreJson(value) : peer.scoreArray(value))
            .to(given.get("target"));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(given));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        streams.setStateListener((state, before) -> {
            if (state == KafkaStreams.State.RUNNING) {
                System.out.println("ready");
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static Properties settings(Map<String, String> given) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given.get("group"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("brokers"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, given.get("state"));
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        settings.put(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 4 << 20);
        settings.put(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, 100);
        settings.put(ProducerConfig.LINGER_MS_CONFIG, (int) Math.round(Double.parseDouble(given.get("linger-ms"))));
        settings.put(ProducerConfig.BATCH_SIZE_CONFIG, 1 << 20);
        settings.put(ProducerConfig.ACKS_CONFIG, "all");
        settings.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
        return settings;
    }

    /** [id, ts_ns, bin of little-endian float32], scored. */
    private byte[] scoreArray(byte[] value) {
        try (MessageUnpacker event = MessagePack.newDefaultUnpacker(value); MessageBufferPacker scored = MessagePack.newDefaultBufferPacker()) {
            event.unpackArrayHeader();
            long id = event.unpackLong();
            long stamp = event.unpackLong();
            ByteBuffer bytes = ByteBuffer.wrap(event.readPayload(event.unpackBinaryHeader())).order(java.nio.ByteOrder.LITTLE_ENDIAN);
            float[] row = new float[bytes.remaining() / 4];
            bytes.asFloatBuffer().get(row);
            float[] scores = score(row);
            ByteBuffer out = ByteBuffer.allocate(4 * scores.length).order(java.nio.ByteOrder.LITTLE_ENDIAN);
            out.asFloatBuffer().put(scores);
            scored.packArrayHeader(3).packLong(id).packLong(stamp).packBinaryHeader(out.capacity());
            scored.writePayload(out.array());
            return scored.toByteArray();
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    /** Crayfish's object, its prediction filled in. */
    private byte[] scoreJson(byte[] value) {
        try {
            ObjectNode event = (ObjectNode) json.readTree(value);
            String[] parts = event.get("dataPoint").textValue().split(",");
            float[] row = new float[parts.length];
            for (int at = 0; at < row.length; at++) {
                row[at] = Float.parseFloat(parts[at]);
            }
            StringJoiner text = new StringJoiner(",");
            for (float score : score(row)) {
                text.add(Float.toString(score));
            }
            event.put("prediction", text.toString());
            return json.writeValueAsBytes(event);
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private float[] score(float[] row) throws Exception {
        try (OnnxTensor tensor = OnnxTensor.createTensor(environment, FloatBuffer.wrap(row), new long[] {1, row.length});
             OrtSession.Result result = session.run(Map.of(input, tensor))) {
            return ((float[][]) result.get(0).getValue())[0];
        }
    }
}
