"use strict";

const drop = document.getElementById("drop");
const choose = document.getElementById("choose");
const status = document.getElementById("status");
const results = document.getElementById("results");
const card = document.getElementById("card");

// What the server takes, a little less of the whole: the form around the photos counts too.
const MIB = 2 ** 20;
const MOST_PHOTOS = 16;
const MOST_PHOTO_BYTES = 16 * MIB;
const MOST_BYTES = 60 * MIB;
const MOST_MINUTES = 2;

let waiting = 0;

const DECISIONS = {
  auto: "tag make and model",
  make: "tag the make only",
  review: "a person should look",
};

const CROPS = {
  box: "cropped by its labelled box",
  detector: "cropped by the detector",
  grabcut: "cropped by colour (GrabCut)",
  none: "on the whole photo",
};

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function view(file, answer) {
  const made = card.content.cloneNode(true);
  const photo = made.querySelector(".photo");
  photo.src = URL.createObjectURL(file);
  photo.alt = file.name;
  photo.addEventListener("load", () => URL.revokeObjectURL(photo.src));
  made.querySelector(".name").textContent = file.name;
  const decision = made.querySelector(".decision");
  const overlay = made.querySelector(".overlay");
  if (answer.error) {
    made.querySelector("h2").textContent = "This photo cannot be used";
    decision.textContent = `${answer.error.reason}: ${answer.error.detail}`;
    decision.classList.add("error");
    overlay.parentElement.remove();
    // What this browser cannot show either would leave a broken picture.
    photo.addEventListener("error", () => photo.parentElement.remove());
  } else {
    made.querySelector("h2").textContent = answer.label;
    decision.textContent = DECISIONS[answer.decision];
    decision.classList.add(answer.decision);
    made.querySelector(".crop").textContent = CROPS[answer.crop];
    overlay.src = answer.overlay;
    overlay.alt = "The photo, dimmed, with light on the places that spoke for this model";
    const bars = made.querySelector(".bars");
    for (const candidate of answer.top) {
      const line = document.createElement("li");
      const name = document.createElement("span");
      const share = document.createElement("span");
      const bar = document.createElement("progress");
      name.textContent = `${candidate.label} (${candidate.make})`;
      share.textContent = percent(candidate.confidence);
      bar.setAttribute("aria-hidden", "true"); // the share beside it says the same
      bar.max = 1;
      bar.value = candidate.confidence;
      line.append(name, share, bar);
      bars.append(line);
    }
  }
  return made;
}

// Why photos cannot be sent, or nothing: asked first, since a server that refuses an upload half
// way looks to a browser as if it were not there.
async function refusal(files) {
  if (files.length > MOST_PHOTOS) {
    return `${files.length} photos; at most ${MOST_PHOTOS} at once`;
  }
  for (const file of files) {
    if (file.size > MOST_PHOTO_BYTES) {
      return `${file.name} has more than ${MOST_PHOTO_BYTES / MIB} MiB`;
    }
    try {
      await file.slice(0, 1).arrayBuffer();
    } catch {
      return `${file.name} cannot be read; drop photos, not folders`;
    }
  }
  const total = files.reduce((sum, file) => sum + file.size, 0);
  return total > MOST_BYTES ? `more than ${MOST_BYTES / MIB} MiB together; send fewer at once` : "";
}

// What became of the photos, in words.
async function ask(files) {
  const refused = await refusal(files);
  if (refused) {
    return `Not sent: ${refused}.`;
  }
  const form = new FormData();
  for (const file of files) {
    form.append("photo", file, file.name);
  }
  let response;
  try {
    response = await fetch("api/predict", { method: "POST", body: form });
  } catch {
    return (
      "No answer came. The server may be down or busy, or the upload broke off: " +
      `it may take ${MOST_MINUTES} minutes, so send fewer photos at once.`
    );
  }
  let answer;
  try {
    answer = await response.json();
  } catch {
    return `The server has a problem (${response.status}); its terminal may say more.`;
  }
  if (!answer?.photos) {
    const detail = answer?.error?.detail ?? `the server has a problem (${response.status})`;
    return `Refused: ${detail}.`;
  }
  const views = document.createDocumentFragment();
  answer.photos.forEach((photo, index) => views.append(view(files[index], photo)));
  results.prepend(views);
  return files.length === 1 ? "1 photo: see below." : `${files.length} photos: see below.`;
}

async function send(files) {
  if (!files.length) {
    return;
  }
  waiting += 1;
  status.textContent = "Looking …";
  let words = "Something went wrong; load this page anew.";
  try {
    words = await ask(files);
  } finally {
    waiting -= 1;
    status.textContent = waiting ? `${words} Looking at more …` : words;
  }
}

choose.addEventListener("change", () => {
  send([...choose.files]);
  choose.value = ""; // so that the same photos can be chosen again
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  send([...event.dataTransfer.files]);
});
