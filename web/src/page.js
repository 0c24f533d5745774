/** The page: loads the classifier, then answers for the text as it stands, at every change of it. */

import { Classifier } from "./classifier.js";
import { InputError } from "./input_error.js";
import { keepForOffline } from "./offline.js";
import * as view from "./view.js";

// Written in by the build: {precision, modelBytes, downloadBytes}.
const SITE = __SITE__;

const box = document.getElementById("text");

async function start() {
  view.showStatus("busy", "正在加载模型…", "Loading the model…");
  const downloads = new AbortController(); // One file that is missing ends the rest.
  const classifier = await Classifier.load(
    (bytes) => view.showProgress(bytes / SITE.downloadBytes),
    downloads.signal,
  ).finally(() => downloads.abort());
  view.showProgress(1);
  const size = `${(SITE.modelBytes / 1e6).toFixed(1)} MB`;
  view.showStatus("ready", "就绪", `Ready: ${SITE.precision}, ${size}${classifier.runId && `, run ${classifier.runId}`}`);
  window.classifier = classifier; // For the console, and for tools/measure.mjs.
  answerWhileTyping(classifier);
  await keepForOffline(view.showOffline, view.showNewer);
}

/** One text at a time; what is typed while the model works is answered next, what it overtook never. */
function answerWhileTyping(classifier) {
  let isBusy = false;
  let isStale = false;
  const answer = async () => {
    isStale = true;
    if (isBusy) return;
    isBusy = true;
    try {
      while (isStale) {
        isStale = false;
        const text = box.value;
        if (!text.trim()) {
          view.showNothing();
          continue;
        }
        const found = await classifier.classify(text);
        view.showAnswer(text, found, classifier.labels, classifier.maxSeqLength);
      }
    } catch (error) {
      fail(error);
    } finally {
      isBusy = false;
    }
  };
  // Letters of a Chinese character that is still being composed are no text yet.
  box.addEventListener("input", (event) => event.isComposing || answer());
  box.addEventListener("compositionend", answer);
  document.getElementById("clear").addEventListener("click", () => {
    box.value = "";
    box.focus();
    answer();
  });
  answer();
}

function fail(error) {
  view.showProgress(1);
  if (!(error instanceof InputError)) console.error(error);
  view.showStatus("error", "出错：", error instanceof InputError ? error.message : `a defect: ${error.message ?? error}`);
}

start().catch(fail);
