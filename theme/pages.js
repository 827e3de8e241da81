// What mdBook's own script falls short of: keys, search, paper.

// What scrolls sideways must be reachable with the keyboard, and there the arrows must scroll and not turn mdBook's page.
const WIDE = "main :is(.table-wrapper, div.output, math[display=block], pre > code)";
for (const region of document.querySelectorAll(WIDE)) {
    region.addEventListener("keydown", event => event.target === region && event.stopPropagation());
    new ResizeObserver(() => {
        if (region.scrollWidth > region.clientWidth + 1) {
            region.setAttribute("tabindex", "0");
        } else {
            region.removeAttribute("tabindex");
        }
    }).observe(region);
}

// mdBook's button for the sidebar is a bare <label>.
const sidebarToggle = document.getElementById("mdbook-sidebar-toggle");
sidebarToggle.setAttribute("role", "button");
sidebarToggle.setAttribute("tabindex", "0");
sidebarToggle.addEventListener("keydown", event => {
    if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        sidebarToggle.click();
    }
});

// Search: prose counts before code and output, and a word that is nowhere is read as
// those nearest to it. kit/book.py puts code and output between ␂ and ␃.
const stem = word => elasticlunr.stemmer(word.toLowerCase());
const stems = text => elasticlunr.tokenizer(text).map(stem);

// The fewest letters to put in, leave out or change that make one word of another.
function editDistance(one, other) {
    let row = [...Array(other.length + 1).keys()];
    for (let i = 1; i <= one.length; i++) {
        const next = [i];
        for (let j = 1; j <= other.length; j++) {
            const change = row[j - 1] + (one[i - 1] !== other[j - 1]);
            next.push(Math.min(change, row[j] + 1, next[j - 1] + 1));
        }
        row = next;
    }
    return row.at(-1);
}

elasticlunr.Index.load = ({ documentStore }) => {
    const index = elasticlunr(), sections = {}, known = new Set();
    for (const field of ["title", "prose", "code"]) index.addField(field);
    for (const { body, ...section } of Object.values(documentStore.docs)) {
        const prose = body.replace(/␂[^␃]*␃/g, " ");
        const code = body.match(/(?<=␂)[^␃]*/g)?.join(" ") ?? "";
        sections[section.id] = { ...section, prose, code };
        index.addDoc(sections[section.id]);
        for (const word of stems(`${section.title} ${prose} ${code}`)) known.add(word);
    }
    const nearest = word => {
        const words = [...known];
        if (words.some(other => other.startsWith(word))) return [word];
        const near = words.map(other => [editDistance(word, other), other]);
        const least = Math.min(...near.map(([distance]) => distance));
        if (least > Math.round(word.length / 4)) return [];
        return near.filter(([distance]) => distance === least).map(([, other]) => other);
    };

    // A teaser begins near what was found: mdBook looks for the word as it was typed.
    const teaser = ({ prose, code }, asked) => {
        const hit = word => stems(word).some(one => asked.some(want => one.startsWith(want)));
        const [words, others] = [prose, code].map(text => text.trim().split(/\s+/));
        const shown = words.some(hit) || !others.some(hit) ? words : others;
        return shown.slice(Math.max(0, shown.findIndex(hit) - 8)).join(" ");
    };
    const fields = { title: { boost: 3 }, prose: { boost: 1 }, code: { boost: 0.01 } };
    return { search(query) {
        const asked = stems(query).flatMap(nearest);
        const results = index.search(asked.join(" "), { fields, expand: true }).slice(0, 30);
        return results.map(({ ref }) => {
            const section = sections[ref];
            return { ref, doc: { ...section, body: teaser(section, asked) } };
        });
    } };
};

// On paper: light, and the solutions of the exercises after everything else.
const element = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
const undo = [];
function lighten() {
    const page = document.documentElement, look = page.className;
    page.classList.remove("rust", "coal", "navy", "ayu");
    page.classList.add("light");
    undo.push(() => { page.className = look; });
}
function putSolutionsLast() {
    const main = document.querySelector("main"), headings = [...main.querySelectorAll("h2, h3")];
    const section = element("section", "");
    section.className = "solutions";
    for (const fold of main.querySelectorAll("details")) {
        if (!fold.querySelector("summary").textContent.startsWith("Solution")) continue;
        const before = node =>
            node.compareDocumentPosition(fold) & Node.DOCUMENT_POSITION_FOLLOWING;
        const title = element("h3", headings.findLast(before)?.textContent);
        const pointer = element("p", "The solution is at the end."), wasOpen = fold.open;
        undo.push(() => { pointer.replaceWith(fold); fold.open = wasOpen; });
        fold.replaceWith(pointer);
        fold.open = true;
        section.append(title, fold);
    }
    if (!section.hasChildNodes()) return;
    section.prepend(element("h2", "Solutions"));
    main.append(section);
    undo.push(() => section.remove());
}
window.addEventListener("beforeprint", () => { lighten(); putSolutionsLast(); });
window.addEventListener("afterprint", () => undo.splice(0).forEach(step => step()));

document.querySelector("button.print")?.addEventListener("click", () => window.print());
