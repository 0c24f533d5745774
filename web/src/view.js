/** What the page shows: bars, times, tokens. Knows the document, not the model. */

const MOST_BARS = 20;
const SPOKEN_AFTER_MILLISECONDS = 800; // A screen reader hears the answer once typing has paused.

const element = (id) => document.getElementById(id);

/** Shows what the page is doing, in Chinese and in English; `kind` is "busy", "ready" or "error". */
export function showStatus(kind, chinese, english) {
  const status = element("status");
  status.dataset.kind = kind;
  status.replaceChildren(make("span", { lang: "zh-Hans" }, chinese), " ", make("span", { lang: "en" }, english));
}

/** Shows how much of the download is there, 0 to 1. */
export function showProgress(share) {
  const progress = element("progress");
  progress.hidden = share >= 1;
  progress.value = share;
}

/** Says in the page's foot that the page works without a network. */
export function showOffline() {
  element("offline").hidden = false;
}

/** Offers a newer build of the page; `use` starts it. */
export function showNewer(use) {
  element("use-newer").onclick = use;
  element("newer").hidden = false;
}

/**
 * Shows an answer.
 *
 * @param {string} text what was classified; kept in the document so that it can be told which text the bars are of
 * @param {import("./classifier.js").Answer} answer
 * @param {string[]} labels
 * @param {number} maxSeqLength
 */
export function showAnswer(text, answer, labels, maxSeqLength) {
  const order = [...labels.keys()].sort((a, b) => answer.probabilities[b] - answer.probabilities[a]);
  element("classes").replaceChildren(
    ...order.slice(0, MOST_BARS).map((index) => bar(labels[index], answer.probabilities[index])),
  );
  const numHidden = Math.max(0, labels.length - MOST_BARS);
  element("more-classes").textContent = numHidden ? `另有 ${numHidden} 类 · ${numHidden} more classes` : "";
  element("tokenizer-time").textContent = milliseconds(answer.tokenizerMilliseconds);
  element("model-time").textContent = milliseconds(answer.modelMilliseconds);
  element("num-tokens").textContent = `${answer.numUsed} / ${maxSeqLength - 2}`;
  element("tokens").replaceChildren(...answer.pieces.slice(0, answer.numUsed).map(token));
  const numCut = answer.pieces.length - answer.numUsed;
  element("cut").textContent = numCut ? `其后 ${numCut} 个词元未读 · ${numCut} more tokens were cut off` : "";
  element("result").dataset.text = text;
  element("result").hidden = false;
  speak(`${labels[order[0]]} ${percent(answer.probabilities[order[0]])}`);
}

/** Takes the last answer away. */
export function showNothing() {
  element("result").hidden = true;
  delete element("result").dataset.text;
  speak("");
}

let speaking;

function speak(sentence) {
  clearTimeout(speaking);
  speaking = setTimeout(() => (element("spoken").textContent = sentence), SPOKEN_AFTER_MILLISECONDS);
}

function bar(label, probability) {
  const fill = make("span", { className: "fill" });
  fill.style.width = `${100 * probability}%`;
  const row = make("li", {}, [
    make("span", { className: "label" }, label),
    make("span", { className: "bar", ariaHidden: "true" }, [fill]),
    make("span", { className: "percent" }, percent(probability)),
  ]);
  row.dataset.label = label;
  row.dataset.probability = probability;
  return row;
}

function token(piece) {
  const isUnknown = piece.token === "[UNK]";
  const item = make("li", isUnknown ? { className: "unknown" } : {}, isUnknown ? shortened(piece.word) : piece.token);
  if (isUnknown) item.append(" ", make("b", {}, "[UNK]"));
  return item;
}

function shortened(word) {
  const characters = [...word];
  return characters.length > 12 ? `${characters.slice(0, 12).join("")}…` : word;
}

function make(name, properties, content = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...[content].flat());
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const milliseconds = (time) => (time < 0.1 ? "< 0.1 ms" : `${time.toFixed(1)} ms`);
