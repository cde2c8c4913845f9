// The part of MQTT.js: answers what it receives on "to/js/..." on "to/python/...", as it came: mqtt.js URL
const mqtt = require(process.env.MQTT_JS);
const client = mqtt.connect(process.argv[2], { connectTimeout: 20000 });
client.on("error", error => { console.error(error); process.exit(1); });
client.on("message", (topic, payload, packet) =>
  client.publish(topic.replace("to/js", "to/python"), payload, { qos: packet.qos }));
client.subscribe("to/js/#", { qos: 2 }, error => console.log(error ? String(error) : "ready"));
process.on("SIGTERM", () => client.end(false, () => process.exit(0)));
