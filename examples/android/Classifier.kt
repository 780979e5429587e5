package com.example.attokit

import android.content.Context
import android.graphics.Bitmap
import com.google.mediapipe.framework.image.BitmapImageBuilder
import com.google.mediapipe.tasks.core.BaseOptions
import com.google.mediapipe.tasks.vision.core.RunningMode
import com.google.mediapipe.tasks.vision.imageclassifier.ImageClassifier

/** Names what is in a picture, by a file that `attokit export --mediapipe` wrote. */
class Classifier(context: Context) : AutoCloseable {
    private val classifier = ImageClassifier.createFromOptions(
        context,
        ImageClassifier.ImageClassifierOptions.builder()
            .setBaseOptions(BaseOptions.builder().setModelAssetPath("model.tflite").build())
            .setRunningMode(RunningMode.IMAGE)
            .setMaxResults(3)
            .build(),
    )

    fun classify(picture: Bitmap): List<Pair<String, Float>> =
        classifier.classify(BitmapImageBuilder(picture).build())
            .classificationResult().classifications().first().categories()
            .map { it.categoryName() to it.score() }

    override fun close() = classifier.close()
}
